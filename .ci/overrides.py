"""Tries what the parameters' patterns allow on SAM's command line, written as docs/configuration.md says: a value that
SAM cut short in silence would be deployed."""

import re
import signal
import sys

from click import BadParameter
from samcli.cli.types import CfnParameterOverridesType
from samtranslator.yaml_helper import yaml_parse

# Of each parameter that is a text without a list of values, one that is as long as it gets.
DIGESTS = ",".join(["0123456789abcdef" * 4] * 2)
SAMPLES = {
    "AddressHashSecretParameter": "/vero-relay/address-hash-secret",
    "AlarmEmail": "first.last+alarms@example.com",
    "BlueprintParameter": "/vero-relay/blueprint",
    "BrowserKeySha256": DIGESTS,
    "CorsOrigins": "https://www.example.com,http://example.com:8080",
    "EventNames": '{"opened":"Newsletter Opened"}',
    "IngestReservedConcurrency": "100",
    "KmsKeyArn": "arn:aws-cn:kms:cn-north-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    "PausedDestinations": "segment,vero_track,archive,webhook:crm",
    "SegmentEndpoint": "https://events.eu1.segmentapis.com:443/a",
    "SegmentSharedSecretParameter": "/vero-relay/a.b_c-d",
    "SegmentTokenSha256": DIGESTS,
    "SegmentWriteKeyParameter": "/vero-relay/segment-write-key",
    "VeroAuthTokenParameter": "/vero-relay/vero-auth-token",
    "VeroEndpoint": "http://localhost:8080/a",
    "VeroTrackTypes": "opened,clicked,link_previewed",
    "WebhookEndpointSettingsParameter": "/vero-relay/webhook-endpoints",
    "WebhookEndpoints": "crm,lake-2",
    "WebhookTokenSha256": DIGESTS,
    "WriteKeySha256": DIGESTS,
}
STRANGE = [*" \t,;:=&'\"\\#$%{}()[]<>|!?*~`@", ", ", "A=b", "\u00e9"]


def arrives(name, value):
    # JSON has blanks and quotes, so that it is quoted for SAM; a list without blanks need not be.
    written = f"{name}='{value}'" if name == "EventNames" or not value else f"{name}={value}"
    try:
        return CfnParameterOverridesType().convert(written, None, None).get(name) == value
    except BadParameter:  # told, so that it is not the silence that this is about
        return bool(value)


signal.alarm(60)  # on a quote that is never closed SAM's expression takes for ever

with open("template.yaml") as file:
    parameters = yaml_parse(file.read())["Parameters"]
patterns = {name: of["AllowedPattern"] for name, of in parameters.items() if "AllowedPattern" in of}
faults = [f"no sample for {name}" for name in sorted(patterns.keys() ^ SAMPLES.keys())]
tried = 0
for name, pattern in patterns.items():
    sample = SAMPLES[name]
    places = (0, len(sample) // 2, len(sample) - 1, len(sample))
    values = {sample, ""} | {sample[:at] + strange + sample[at:] for at in places for strange in STRANGE}
    if not re.fullmatch(pattern, sample):
        faults.append(f"{name} does not take {sample}")
    allowed = {value for value in values if re.fullmatch(pattern, value)}
    if name == "EventNames":  # docs/configuration.md: these two are spelt otherwise
        allowed = {value for value in allowed if "'" not in value and "\\" not in value}
        allowed |= {sample.replace("Opened", f"{spelt}Opened") for spelt in ("\\u0027", "\\u0022")}
    faults += [f"{name}: SAM does not hand on {value}" for value in sorted(allowed) if not arrives(name, value)][:3]
    tried += len(allowed)
if faults:
    sys.exit("\n".join(faults))
print(f"SAM hands on {tried} values that the patterns allow")
