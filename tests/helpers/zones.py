"""The same Python code on machines of several time zones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


def in_zone(zone: str, code: str, text: str = "") -> str:
    """What a new Python process on a machine in `zone` prints; `text` is its standard input."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "TZ": zone},
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
