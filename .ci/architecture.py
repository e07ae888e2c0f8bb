"""Runs `sam build` with a stand-in for cargo, as samconfig.toml has it and after the runbook's edit for x86_64, and
compares the processor that cargo-lambda is asked to build for with the one that the built template gives the functions:
whatever is deployed with that template must run there."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tomlkit
from samtranslator.yaml_helper import yaml_parse

CARGO = """#!/usr/bin/env python3
import json, os, pathlib, subprocess, sys
real = os.environ["REAL_CARGO"]
if sys.argv[1] != "lambda":
    sys.exit(subprocess.run([real, *sys.argv[1:]]).returncode)
function = pathlib.Path.cwd().name
with open(os.environ["ASKED"], "a") as file:
    file.write(json.dumps([function, sys.argv[2:]]) + "\\n")
bootstrap = pathlib.Path(os.environ["CARGO_TARGET_DIR"], "lambda", function, "bootstrap")
bootstrap.parent.mkdir(parents=True, exist_ok=True)
bootstrap.touch()
"""
ARM, X86 = "Architectures: [arm64]", "Architectures: [x86_64]"


def build(template, environment):
    """For each function, what was asked for and what the built template says."""
    with tempfile.TemporaryDirectory() as folder:
        bin, asked, built = Path(folder, "bin"), Path(folder, "asked"), Path(folder, "built")
        bin.mkdir()
        for name in ("cargo", "cargo-lambda"):
            (bin / name).write_text(CARGO)
            (bin / name).chmod(0o755)
        Path(folder, "template.yaml").write_text(template)
        variables = {
            **os.environ,
            "PATH": f"{bin}:{os.environ['PATH']}",
            "REAL_CARGO": shutil.which("cargo"),
            "ASKED": str(asked),
            "CARGO_TARGET_DIR": str(Path(folder, "target")),
        }
        command = ["sam", "build", "--config-env", environment, "--config-file", str(Path("samconfig.toml").resolve())]
        command += ["--template", f"{folder}/template.yaml", "--base-dir", ".", "--build-dir", str(built)]
        ended = subprocess.run(command, env=variables, capture_output=True, text=True)
        if ended.returncode:
            sys.exit(ended.stderr)
        said = yaml_parse((built / "template.yaml").read_text())
        functions = [of for of in said["Resources"].values() if of["Type"] == "AWS::Serverless::Function"]
        [processor] = said["Globals"]["Function"]["Architectures"]
        processors = [of["Properties"].get("Architectures", [processor]) for of in functions]
        calls = [json.loads(line) for line in asked.read_text().splitlines()]
        asked_for = ["arm64" if "--arm64" in arguments else "x86_64" for _, arguments in calls]
        return asked_for, [processor for [processor] in processors]


def main():
    template = Path("template.yaml").read_text()
    if template.count(ARM) != 1 or f"`{ARM}`" not in Path("docs/runbook.md").read_text():
        sys.exit(f"docs/runbook.md says what to edit: template.yaml must say {ARM} once")
    config = tomlkit.parse(Path("samconfig.toml").read_text())
    environments = [name for name, of in config.items() if isinstance(of, dict)]
    for environment in environments:
        for text, expected in ((template, "arm64"), (template.replace(ARM, X86), "x86_64")):
            asked_for, said = build(text, environment)
            if asked_for != [expected] * 3 or said != [expected] * 3:
                sys.exit(f"{environment}: cargo-lambda builds for {asked_for}, the functions run on {said}")
    print("what sam build makes runs on the processor that its template names")


main()
