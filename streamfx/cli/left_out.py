"""How a command that reads files ends: it names the input that was left out, and has an exit code for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamfx.terminal import printable, say

if TYPE_CHECKING:
    from streamfx.runtime.worker import Status

LEFT_OUT = 3
EXIT_CODES = (
    "Exit codes: 0, all of the input was used; 1, an error; 2, a wrong command line; 3, finished, but some of "
    "the input was "
    "left out, which the last lines name."
)


def say_left_out(sentences: Sequence[str]) -> None:
    """Name on standard error what was left out."""
    for sentence in sentences:
        say(f"left out: {printable(sentence)}")


def exit_if_left_out(sentences: Sequence[str]) -> None:
    """End with code 3 where anything was left out."""
    if sentences:
        sys.exit(LEFT_OUT)


def say_finished_before(statuses: Sequence[Status]) -> None:
    """Say how many files an earlier run had finished, where there are any."""
    inputs, before = (sum(getattr(status, name) for status in statuses) for name in ("inputs", "finished_before"))
    if before:
        say(f"{before} of {inputs} already done")
