"""Each call that the SDK has, once. Usage: client.py HOST WRITE_KEY NAME [gzip]"""

import sys

import segment.analytics as analytics

host, write_key, name, *options = sys.argv[1:]
user_id = f"user-{name}"
errors = []

analytics.host = host
analytics.write_key = write_key
analytics.gzip = "gzip" in options
analytics.on_error = lambda error, items: errors.append(error)

analytics.identify(
    user_id, {"email": f"{name}@example.com", "plan": "pro"}, message_id=f"{name}-identify"
)
analytics.track(
    user_id, "Song Played", {"title": "Für Elise", "seconds": 175}, message_id=f"{name}-track"
)
analytics.page(
    user_id, "Shop", "Pricing", {"url": "https://example.com/pricing"}, message_id=f"{name}-page"
)
analytics.screen(user_id, None, "Player", {"volume": 11}, message_id=f"{name}-screen")
analytics.group(user_id, f"group-{name}", {"name": "Acme"}, message_id=f"{name}-group")
analytics.alias(f"before-{name}", user_id, message_id=f"{name}-alias")

analytics.shutdown()
sys.exit("\n".join(map(str, errors)) or 0)
