// Asks a simulator of IAM what becomes of each request on standard input, and writes the answers in their order.
import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const answers = []
for (const { principal, policy, resourcePolicy, action, resource } of JSON.parse(readFileSync(0, 'utf8'))) {
  const account = principal.split(':')[4]
  const answer = await runSimulation(
    {
      request: {
        principal,
        action,
        resource: { resource, accountId: account },
        contextVariables: { 'aws:SecureTransport': 'true' },
      },
      identityPolicies: [{ name: 'role', policy }],
      resourcePolicy,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  )
  answers.push(answer.resultType === 'error' ? answer.errors : answer.overallResult)
}
console.log(JSON.stringify(answers))
