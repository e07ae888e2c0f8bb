// Each call that the SDK has, once. Usage: node client.js HOST WRITE_KEY NAME
'use strict'

const { Analytics } = require('@segment/analytics-node')

const [host, writeKey, name] = process.argv.slice(2)
const userId = `user-${name}`
const messageId = (type) => `${name}-${type}`

const analytics = new Analytics({ host, writeKey })
// It reports an event that it has given up as an error, and ends without one.
analytics.on('error', ({ code, reason }) => {
  console.error(code, String(reason))
  process.exitCode = 1
})

analytics.identify({
  userId,
  messageId: messageId('identify'),
  traits: { email: `${name}@example.com`, plan: 'pro' },
})
analytics.track({
  userId,
  messageId: messageId('track'),
  event: 'Song Played',
  properties: { title: 'Für Elise', seconds: 175 },
})
analytics.page({
  userId,
  messageId: messageId('page'),
  category: 'Shop',
  name: 'Pricing',
  properties: { url: 'https://example.com/pricing' },
})
analytics.screen({ userId, messageId: messageId('screen'), name: 'Player', properties: { volume: 11 } })
analytics.group({ userId, messageId: messageId('group'), groupId: `group-${name}`, traits: { name: 'Acme' } })
analytics.alias({ userId, messageId: messageId('alias'), previousId: `before-${name}` })

analytics.closeAndFlush()
