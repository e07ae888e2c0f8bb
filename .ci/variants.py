"""Resolves the expanded template for one set of parameters after the other, as CloudFormation does, and checks what
comes out: a linter sees only the template, in which a list that its conditions empty still looks full."""

import copy
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="pkg_resources")  # what parliament imports
import parliament  # noqa: E402
from moto.iam.exceptions import MalformedPolicyDocument
from moto.iam.policy_validation import IAMPolicyDocumentValidator, IAMTrustPolicyDocumentValidator

DIGEST = "0" * 64
# As long as docs/deploy.md lets a stack's name be.
STACK = "vero-relay-" + "x" * 25
STACK_ID = "11111111-2222-3333-4444-555555555555"
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackId": f"arn:aws:cloudformation:us-east-1:123456789012:stack/{STACK}/{STACK_ID}",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
SEGMENT = {"SegmentWriteKeyParameter": "/vero-relay/segment-write-key"}
VERO = {"VeroAuthTokenParameter": "/vero-relay/vero-auth-token"}
ENDPOINTS = {
    "WebhookEndpoints": "crm,lake",
    "WebhookEndpointSettingsParameter": "/vero-relay/webhook-endpoints",
}
ARCHIVE = {"Archive": "true"}
KEY = {"KmsKeyArn": f"arn:aws:kms:us-east-1:123456789012:key/{STACK_ID}"}
EVERYTHING = {
    **SEGMENT,
    **VERO,
    **ENDPOINTS,
    **ARCHIVE,
    **KEY,
    "AlarmEmail": "ops@example.com",
    "ArchiveColdDays": "90",
    "BatchWindowSeconds": "300",
    "AddressHashSecretParameter": "/vero-relay/address-hash-secret",
    "BlueprintParameter": "/vero-relay/blueprint",
    "BrowserKeySha256": DIGEST,
    "CorsOrigins": "https://www.example.com,https://example.com",
    "EventNames": '{"opened":"Newsletter Opened"}',
    "IngestReservedConcurrency": "100",
    "PausedDestinations": "segment,vero_track,archive,webhook:crm",
    "SegmentSharedSecretParameter": "/vero-relay/segment-shared-secret",
    "SegmentTokenSha256": f"{DIGEST},{DIGEST}",
    "Tracing": "Active",
    "VeroTrackTypes": "opened,clicked",
    "WebhookPrivateAddresses": "true",
    "WriteKeySha256": DIGEST,
}
# What may be deployed, beside the token's digest, which alone has no default.
VARIANTS = {
    "Segment alone": SEGMENT,
    "Vero alone": VERO,
    "endpoints alone, with first-party events": {**ENDPOINTS, "WriteKeySha256": DIGEST},
    "both destinations": {**SEGMENT, **VERO},
    "the archive alone": ARCHIVE,
    "the archive alone, with a key": {**ARCHIVE, **KEY},
    "the archive alone, with first-party events": {**ARCHIVE, "WriteKeySha256": DIGEST},
    "the archive and a blueprint": {**ARCHIVE, "BlueprintParameter": "/vero-relay/blueprint"},
    "a key": {**SEGMENT, **VERO, **KEY},
    "a shared secret": {**VERO, "SegmentTokenSha256": DIGEST, "SegmentSharedSecretParameter": "/a/secret"},
    "as little as can be": {**SEGMENT, "QuietHours": "0", "IngestReservedConcurrency": "0", "BatchWindowSeconds": "0"},
    "everything": EVERYTHING,
}
# What a rule refuses, and a word of its answer.
REFUSED = {
    "no destination": ({}, "SegmentWriteKeyParameter"),
    "a region without Function URLs": ({**SEGMENT, "AWS::Region": "eu-central-2"}, "Function URLs"),
    "endpoints without settings": ({"WebhookEndpoints": "crm"}, "WebhookEndpointSettingsParameter"),
    "first-party events for nobody": ({**SEGMENT, "WriteKeySha256": DIGEST}, "first-party"),
}
# Where a type's names and ARNs are not like the others'.
ARNS = {
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{}",
    "AWS::KinesisFirehose::DeliveryStream": "arn:aws:firehose:us-east-1:123456789012:deliverystream/{}",
    "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:{}",
    "AWS::Logs::LogGroup": "arn:aws:logs:us-east-1:123456789012:log-group:{}:*",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SNS::Topic": "arn:aws:sns:us-east-1:123456789012:{}",
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:{}",
}
NAMES = {"AWS::Logs::LogGroup": "LogGroupName", "AWS::SQS::Queue": "QueueName", "AWS::Athena::WorkGroup": "Name"}
MOST = {"AWS::Athena::WorkGroup": 128, "AWS::Logs::LogGroup": 512, "AWS::SQS::Queue": 80}
NO_VALUE = object()


class Broken(Exception):
    """What CloudFormation, or the service behind it, would refuse."""


class Stack:
    """A template with its parameters."""

    def __init__(self, template, parameters):
        self.template = template
        self.pseudo = {**PSEUDO, **{name: parameters[name] for name in PSEUDO if name in parameters}}
        parameters = {name: value for name, value in parameters.items() if name not in PSEUDO}
        self.parameters = {name: str(of.get("Default", "")) for name, of in template["Parameters"].items()}
        for name, value in {"WebhookTokenSha256": DIGEST, **parameters}.items():
            self.check_parameter(name, value)
            self.parameters[name] = value
        self.conditions = {name: self.is_true(of) for name, of in template["Conditions"].items()}

    def check_parameter(self, name, value):
        of = self.template["Parameters"].get(name)
        if of is None:
            raise Broken(f"there is no parameter {name}")
        allowed = [str(allowed) for allowed in of.get("AllowedValues", [value])]
        bounds = "MinValue" not in of or of["MinValue"] <= int(value) <= of["MaxValue"]
        if value not in allowed or not bounds or not re.fullmatch(of.get("AllowedPattern", ".*"), value):
            raise Broken(f"{name} does not take {value}")

    def is_there(self, name):
        if name not in self.template["Resources"]:
            return False
        return self.conditions.get(self.template["Resources"][name].get("Condition"), True)

    def is_true(self, condition):
        """Of conditions and of rules, which have a function more."""
        [(function, of)] = condition.items()
        match function:
            case "Condition":
                return self.is_true(self.template["Conditions"][of])
            case "Fn::Equals":
                return str(self.resolve(of[0])) == str(self.resolve(of[1]))
            case "Fn::Not":
                return not self.is_true(of[0])
            case "Fn::And":
                return all([self.is_true(one) for one in of])
            case "Fn::Or":
                return any([self.is_true(one) for one in of])
            case "Fn::Contains":
                return self.resolve(of[1]) in of[0]
        raise Broken(f"unknown in a condition: {function}")

    def refusals(self):
        for rule in self.template["Rules"].values():
            if self.is_true(rule.get("RuleCondition", {"Fn::Equals": ["", ""]})):
                for assertion in rule["Assertions"]:
                    if not self.is_true(assertion["Assert"]):
                        yield assertion["AssertDescription"]

    def name(self, resource):
        """What CloudFormation or the template calls a resource."""
        of = self.template["Resources"][resource]
        given = of["Properties"].get(NAMES.get(of["Type"]))
        return self.resolve(given) if given else f"{STACK}-{resource}-0123456789AB"

    def reference(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        if not self.is_there(name):
            raise Broken(f"{name} is referred to and not there")
        kind = self.template["Resources"][name]["Type"]
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.us-east-1.amazonaws.com/123456789012/{self.name(name)}"
        return ARNS[kind].format(self.name(name)) if kind == "AWS::SNS::Topic" else self.name(name)

    def attribute(self, name, attribute):
        if not self.is_there(name):
            raise Broken(f"{name} is referred to and not there")
        kind = self.template["Resources"][name]["Type"]
        if attribute == "Arn" and kind in ARNS:
            return ARNS[kind].format(self.name(name))
        if attribute == "QueueName":
            return self.name(name)
        return f"{attribute}-of-{name}"

    def substitute(self, of):
        text, given = of if isinstance(of, list) else (of, {})

        def value(match):
            name = match[1]
            if name in given:
                return str(self.resolve(given[name]))
            return str(self.attribute(*name.split(".")) if "." in name else self.reference(name))

        return re.sub(r"\$\{([^!}][^}]*)\}", value, text)

    def resolve(self, value, path=""):
        if isinstance(value, list):
            full = [self.resolve(one, f"{path}[{index}]") for index, one in enumerate(value)]
            full = [one for one in full if one is not NO_VALUE]
            if value and not full:
                raise Broken(f"{path} is left empty by its conditions")
            return full
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, of)] = value.items()
            match function:
                case "Ref":
                    return self.reference(of)
                case "Fn::GetAtt":
                    return self.attribute(*(of.split(".") if isinstance(of, str) else of))
                case "Fn::If":
                    return self.resolve(of[1] if self.conditions[of[0]] else of[2], path)
                case "Fn::Sub":
                    return self.substitute(of)
                case "Fn::Join":
                    return of[0].join(str(one) for one in self.resolve(of[1]))
                case "Fn::Split":
                    return self.resolve(of[1]).split(of[0])
                case "Fn::Select":
                    return self.resolve(of[1])[int(of[0])]
                case "Fn::FindInMap":
                    table, row, column = self.resolve(of)
                    return self.template["Mappings"][table][row][column]
                case "Fn::Base64":
                    return self.resolve(of[0] if isinstance(of, list) else of)
            if function.startswith("Fn::"):
                raise Broken(f"{path}: unknown function {function}")
        full = {name: self.resolve(one, f"{path}.{name}") for name, one in value.items()}
        full = {name: one for name, one in full.items() if one is not NO_VALUE}
        if value and not full and "." in path:  # all of a resource's properties may go, as the topic's do
            raise Broken(f"{path} is left empty by its conditions")
        return full

    def resources(self):
        """All that are there, with nothing left to resolve."""
        for name, of in self.template["Resources"].items():
            if self.is_there(name):
                yield name, of["Type"], self.resolve(of.get("Properties", {}), name)

    def decided(self):
        """The template with its parameters and conditions decided, and all references left, for cfn-lint."""

        def decide(value):
            if isinstance(value, list):
                return [one for one in map(decide, value) if one is not NO_VALUE]
            if not isinstance(value, dict):
                return value
            if list(value) == ["Fn::If"]:
                condition, yes, no = value["Fn::If"]
                return decide(yes if self.conditions[condition] else no)
            if value == {"Ref": "AWS::NoValue"}:
                return NO_VALUE
            if list(value) == ["Ref"] and value["Ref"] in self.parameters:
                return self.parameters[value["Ref"]]
            if list(value) == ["Fn::Sub"]:
                text, given = value["Fn::Sub"] if isinstance(value["Fn::Sub"], list) else (value["Fn::Sub"], {})
                for name, parameter in self.parameters.items():
                    text = text.replace(f"${{{name}}}", parameter)
                return {"Fn::Sub": [text, decide(given)] if given else text} if "${" in text else text
            full = {name: decide(one) for name, one in value.items()}
            return {name: one for name, one in full.items() if one is not NO_VALUE}

        template = copy.deepcopy(self.template)
        for section in ("Parameters", "Conditions", "Rules"):
            del template[section]
        del template["Metadata"]
        for section in ("Resources", "Outputs"):
            there = {
                name: {key: value for key, value in of.items() if key != "Condition"}
                for name, of in template[section].items()
                if self.conditions.get(of.get("Condition"), True)
            }
            template[section] = decide(there)
        return template


def documents(name, kind, properties):
    """The IAM documents of a resource, and whether each says who may assume a role, what a role may do, or who may use
    the resource."""
    if kind == "AWS::IAM::Role":
        yield f"{name}, trust", "trust", properties["AssumeRolePolicyDocument"]
        for policy in properties["Policies"]:
            yield f"{name}, {policy['PolicyName']}", "identity", policy["PolicyDocument"]
    elif "PolicyDocument" in properties:
        yield name, "resource", properties["PolicyDocument"]


def check_document(name, kind, document):
    try:
        if kind == "trust":
            IAMTrustPolicyDocumentValidator(json.dumps(document)).validate()
        else:
            # Moto validates what a role may do. A resource's own policy says besides whom it is for.
            anonymous = copy.deepcopy(document)
            for statement in anonymous["Statement"]:
                if ("Principal" in statement) != (kind == "resource"):
                    raise Broken(f"{name}: a Principal that does not belong there, or none")
                statement.pop("Principal", None)
            IAMPolicyDocumentValidator(json.dumps(anonymous)).validate()
    except MalformedPolicyDocument as refusal:
        raise Broken(f"{name}: IAM refuses it: {refusal.message}") from None
    if kind == "trust":
        return
    for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
        yield finding


def check(parameters, template):
    """What is wrong with a variant."""
    stack = Stack(template, parameters)
    yield from stack.refusals()
    for name, kind, properties in stack.resources():
        if len(stack.name(name)) > MOST.get(kind, 512):
            yield f"{name}: {stack.name(name)} is too long a name"
        for document, of, statements in documents(name, kind, properties):
            for finding in check_document(document, of, statements):
                yield f"{document}: {finding.issue} {finding.detail} {finding.location}"
        if kind == "AWS::Lambda::EventSourceMapping":
            window = int(properties.get("MaximumBatchingWindowInSeconds", 0))
            if int(properties["BatchSize"]) > 10 and not window:
                yield f"{name}: Lambda wants a window for a batch over 10"
    for name, output in template["Outputs"].items():
        if stack.conditions.get(output.get("Condition"), True):
            stack.resolve(output["Value"], name)


def main():
    with open(sys.argv[1]) as file:
        template = json.load(file)
    folder = Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    faults, files = [], []
    for variant, parameters in VARIANTS.items():
        try:
            faults += [f"{variant}: {fault}" for fault in check(parameters, template)]
            files.append(folder / f"{variant}.json")
            files[-1].write_text(json.dumps(Stack(template, parameters).decided(), indent=2))
        except Broken as fault:
            faults.append(f"{variant}: {fault}")
    for variant, (parameters, word) in REFUSED.items():
        if not any(word in refusal for refusal in Stack(template, parameters).refusals()):
            faults.append(f"{variant}: no rule refuses it with the word {word}")
    lint = subprocess.run(["cfn-lint", "--ignore-checks", "W", "--", *files])
    if faults or lint.returncode:
        sys.exit("\n".join(faults) or "cfn-lint found faults")
    print(f"{len(VARIANTS)} sets of parameters make a template that IAM and cfn-lint take, {len(REFUSED)} are refused")


main()
