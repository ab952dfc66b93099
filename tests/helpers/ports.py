"""Ports of this machine for the servers that a test starts."""

from __future__ import annotations

import os
import random
import socket
from itertools import count

_SHARE = 3000
# Linux gives ports from 32768 on to outgoing connections, which could take one before its server does, or while the
# server is dead. Of those below, each process of a test run deals out others.
_FIRST = 20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4 * _SHARE
_turns = count(random.randrange(_SHARE))


def free_port() -> int:
    """One such port."""
    [port] = free_ports(1)
    return port


def free_ports(number: int) -> list[int]:
    """So many consecutive ports that are unused, and that are not dealt out again soon."""
    row: list[int] = []
    while len(row) < number:
        port = _FIRST + next(_turns) % _SHARE
        follows = not row or port == row[-1] + 1
        row = [*row, port] if follows and _unused(port) else []
    return row


def _unused(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
