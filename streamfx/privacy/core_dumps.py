"""A process that holds frames of people leaves none of them in a core dump."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path


def leave_no_core_dump() -> None:
    """Have this process, and those that it starts from now on, leave no core dump with any of their memory in it.

    A dump into a file is forbidden by the limit of its size. Linux ignores that limit where dumps are piped to a program, as
    systemd does; such a dump gets no memory mapping (`man 5 core`, `coredump_filter`).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(FileNotFoundError):  # only Linux has it
        Path("/proc/self/coredump_filter").write_text("0")
