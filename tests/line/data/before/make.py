"""Begins the dataset beside this file and dies after its second commit, as a worker does that is killed. See
README.md."""

import os
import runpy
import sys

from streamfx.runtime.line import PartitionLine

commit = PartitionLine.commit


def commit_twice(line):
    head = commit(line)
    if head is not None and head.n_next == 2:
        os._exit(9)
    return head


PartitionLine.commit = commit_twice
values = {
    "source.files": "{paths: [tests/line/data/before/story.mp4], start: '2026-01-01T12:00:00Z'}",
    "privacy": "{purpose: test, deployment_context: research, stream_id_key_file: tests/line/data/before/key}",
    "sink": "{path: tests/line/data/before/dataset, roll_chunks: 5}",
    "redact.preview_dir": "null",
}
sys.argv = ["streamfx", "run", "quickstart", *(f"--set={key}={value}" for key, value in values.items())]
runpy.run_module("streamfx", run_name="__main__")
