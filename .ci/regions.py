"""Holds the template's rule about regions and the table of them in docs/deploy.md against CloudFormation's schemas."""

import json
import re
import sys
from pathlib import Path

from cfnlint.helpers import REGIONS
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

# AWS's page on Function URLs leaves it out, and its schema does not.
BY_THE_PAGE = {"eu-south-2"}

with open(sys.argv[1]) as file:
    template = json.load(file)
wanted = {resource["Type"] for resource in template["Resources"].values()}
[assertion] = template["Rules"]["RegionHasFunctionUrls"]["Assertions"]
refused = set(assertion["Assert"]["Fn::Not"][0]["Fn::Contains"][0])
section = Path("docs/deploy.md").read_text().split("\n## Where it runs\n")[1].split("\n## ")[0]
rows = [row.split("|") for row in section.splitlines() if row.startswith("| ")]
runs, does_not = (set(re.findall("`(.+?)`", " ".join(row[column] for row in rows))) for column in (2, 3))

# cfn-lint falls back to us-east-1 where it has no schemas.
types = {region: set(PROVIDER_SCHEMA_MANAGER.get_resource_types(region)) for region in REGIONS}
types = {region: of for region, of in types.items() if region == "us-east-1" or of != types["us-east-1"]}
faults = [f"{region} has no {wanted - types[region]}" for region in sorted(runs & set(types)) if wanted - types[region]]
faults += [f"nothing is known of {region}" for region in sorted((runs | refused) - set(types))]
faults += [f"docs/deploy.md does not name {region}" for region in sorted(set(types) - runs - does_not)]
faults += [f"{region} has all of it" for region in sorted(refused - BY_THE_PAGE) if not wanted - types[region]]
if refused != does_not or runs & refused:
    faults.append(f"docs/deploy.md and the rule differ: {sorted((refused ^ does_not) | (runs & refused))}")
if faults:
    sys.exit("\n".join(faults))
print(f"{len(runs)} regions have all that the template asks for, {len(refused)} are refused")
