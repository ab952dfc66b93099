"""A real Triton server for tests, on free ports of this machine."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from helpers import ports
from helpers.lacking import lacks

from streamfx.errors import MissingComponent
from streamfx.serving.triton_server import LocalTriton, Ports, find_venv
from streamfx.shipped import shipped


def free_ports() -> Ports:
    """Three unused ports."""
    return Ports(*ports.free_ports(3))


def require_triton() -> None:
    """Skip the test where the local Triton environment is missing."""
    try:
        find_venv()
    except MissingComponent as error:
        lacks("the Triton environment", str(error))


@cache
def expression_alone() -> Path:
    """A repository of the expression model alone: each of the others costs a server one more process that loads torch."""
    folder = Path(tempfile.mkdtemp(prefix="streamfx-repository-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "expression").symlink_to(shipped("triton_models") / "expression")
    return folder


@contextmanager
def running_triton(models: Mapping[str, str] | None = None, repository: Path | None = None) -> Iterator[str]:
    """The gRPC address of a server that is ready; the arguments are LocalTriton's. The server is killed on exit."""
    require_triton()
    server = LocalTriton(free_ports(), models, repository)
    try:
        yield server.grpc_url
    finally:
        server.stop(gently=False)
