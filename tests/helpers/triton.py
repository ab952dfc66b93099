"""A real Triton server for tests, on free ports of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from helpers.lacking import lacks

from streamfx.errors import MissingComponent
from streamfx.serving.triton_server import LocalTriton, Ports, find_venv


def free_ports() -> Ports:
    """Three unused ports."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return Ports(*(one.getsockname()[1] for one in sockets))


def require_triton() -> None:
    """Skip the test where the local Triton environment is missing."""
    try:
        find_venv()
    except MissingComponent as error:
        lacks("the Triton environment", str(error))


@contextmanager
def running_triton(models: Mapping[str, str] | None = None) -> Iterator[str]:
    """The gRPC address of a server that is ready; `models` as for LocalTriton. The server ends on exit."""
    require_triton()
    server = LocalTriton(free_ports(), models)
    try:
        yield server.grpc_url
    finally:
        server.stop()
