"""Runs the runbook's commands that put back what Firehose wrote under errors/, as they stand there, over a folder in
place of the bucket."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

AWS = """#!/usr/bin/env bash
# Of `aws s3` as much as those commands ask for.
set -euo pipefail
here() { printf %s "${1/#s3:\\/\\/a-bucket/$BUCKET}"; }
[ "$1" = s3 ]
case "$2 $3" in
'cp --recursive') mkdir -p "$(here "$5")" && cp -R "$(here "$4")." "$(here "$5")" ;;
'rm --recursive') rm -rf "$(here "$4")" ;;
'rm s3://'*) rm "$(here "$3")" ;;
*) exit 2 ;;
esac
"""
ROW = (
    '{"id":"%s","_sequence":1795237443123000001,"received_at":"%sT05:04:03.123Z","source":"%s",'
    '"payload":"{\\"n\\":1.00,\\"a\\":\\"\\\\t\u00e9\\"}"}'
)
ROWS = [
    ROW % (number, day, source)
    for number, (day, source) in enumerate(
        [("2026-11-21", "vero"), ("2026-11-21", "segment"), ("2026-11-22", "vero"), ("2026-11-21", "vero")]
    )
]


def misplaced(row):
    """A line of Firehose's about a row."""
    return json.dumps(
        {
            "attemptsMade": 4,
            "arrivalTimestamp": 1795237443123,
            "errorCode": "S3.AccessDenied",
            "errorMessage": "Access was denied.",
            "attemptEndingTimestamp": 1795244643123,
            "rawData": base64.b64encode(f"{row}\n".encode()).decode(),
        }
    )


def run(commands, objects):
    """What the commands print and whether they end well, and what is in the bucket afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        bin, bucket, work = (Path(folder, name) for name in ("bin", "bucket", "work"))
        errors = bucket / "errors/data/S3.AccessDenied/2026-11-22"
        for made in (bin, errors, bucket / "data", work):
            made.mkdir(parents=True)
        (bin / "aws").write_text(AWS)
        (bin / "aws").chmod(0o755)
        for name, content in objects.items():
            (errors / name).write_bytes(content)
        environment = {**os.environ, "BUCKET": str(bucket), "PATH": f"{bin}:{os.environ['PATH']}"}
        script = f"output() {{ echo a-bucket; }}\n{commands}"
        ended = subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
        there = {file: file.read_bytes() for file in bucket.rglob("*") if file.is_file()}
        return ended, {str(file.parent.relative_to(bucket)): content for file, content in there.items()}


def main():
    section = Path("docs/runbook.md").read_text().split("\n## Rows under errors/\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    # A user goes on to the next block if the one before went well.
    commands = " &&\n".join(f"{{\n{block}}}" for block in blocks)
    lines = [f"{misplaced(row)}\n".encode() for row in ROWS]
    plain, packed = lines[0] + lines[1], gzip.compress(lines[2] + lines[3])
    ended, there = run(commands, {"plain": plain, "packed.gz": packed})
    if "4 S3.AccessDenied: Access was denied." not in ended.stdout or ended.returncode:
        sys.exit(f"no reason is given: {ended}")
    rows = {folder: sorted(gzip.decompress(rows).decode().splitlines()) for folder, rows in there.items()}
    expected = {
        "data/day=2026-11-21/source=vero": [ROWS[0], ROWS[3]],
        "data/day=2026-11-21/source=segment": [ROWS[1]],
        "data/day=2026-11-22/source=vero": [ROWS[2]],
    }
    if rows != expected:
        sys.exit(f"not where they belong, or not to the letter: {rows}")
    # What cannot be put back stays.
    for unreadable in (b'{"errorCode":"a","errorMessage":"b"}\n', packed[:-12]):
        ended, there = run(commands, {"plain": plain, "unreadable.gz": unreadable})
        if not ended.returncode or set(there) != {"errors/data/S3.AccessDenied/2026-11-22"}:
            sys.exit(f"something is put back or gone: {ended} {there}")
    print("what Firehose could not place comes back by the runbook's commands")


main()
