"""Writes template.yaml as CloudFormation sees it after the SAM transform, for the linters: SAM hides resources from
them, and drops a function's `checkov` suppressions on what it makes of that function."""

import json
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """The template has roles of its own."""

    def load(self):
        return {}


with open("template.yaml") as file:
    template = yaml_parse(file.read())
functions = {
    name: resource["Metadata"]
    for name, resource in template["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
for name in functions:
    template["Resources"][name]["Properties"]["CodeUri"] = "s3://bucket/key"  # `sam package` would write it
expanded = transform(template, {}, NoManagedPolicies())
for name, resource in expanded["Resources"].items():
    for function, metadata in functions.items():
        if name.startswith(function) and resource["Type"].startswith("AWS::Lambda::"):
            resource["Metadata"] = metadata
json.dump(expanded, sys.stdout, indent=2)
