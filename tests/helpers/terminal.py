"""A pseudo-terminal of a given size with a command in it, as for a user at a keyboard."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from helpers.runs import PATIENCE_S

STREAMFX = [sys.executable, "-m", "streamfx"]


class Terminal:
    """Runs `command` with its three streams on a terminal that is also its controlling terminal."""

    def __init__(self, command: Sequence[object], folder: Path, columns: int = 100, **environment: str):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LEAD, *map(str, command)],
            cwd=folder, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env=os.environ | {"TERM": "xterm"} | environment,
        )  # fmt: skip
        os.close(slave)

    def wait_for(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Read until `text` is shown."""
        give_up = time.monotonic() + timeout_s
        while text not in self.shown:
            assert self._read() and time.monotonic() < give_up, f"{text!r} was not shown: {self.shown}"

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to the whole foreground group."""
        os.write(self._master, b"\x03")

    def go_away(self) -> None:
        """Close the window: the kernel sends SIGHUP, and every later write fails."""
        os.close(self._master)

    def end(self, timeout_s: float = PATIENCE_S) -> int:
        """Read to the end and return the exit status."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(timeout_s)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], PATIENCE_S)
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # the other end is closed
            data = b""
        self.shown += data.decode(errors="replace")
        return bool(data)


_LEAD = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
# A script's background processes, such as these tests may be, ignore these signals; programs at a keyboard do not.
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
