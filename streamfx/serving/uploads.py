"""How many tensors this process has handed to model servers, as plain numbers; `runtime/metrics.py` serves them."""

from __future__ import annotations

import threading
from typing import Literal, NamedTuple

Way = Literal["shared_memory", "message"]
"""Copied into memory that the server reads too, or sent within the request."""


class Uploads(NamedTuple):
    """Tensors that were copied or sent, and their bytes."""

    tensors: int = 0
    bytes: int = 0


_so_far: dict[tuple[str, Way], Uploads] = {}
_lock = threading.Lock()


def count_upload(tensor: str, way: Way, size: int) -> None:
    """Count one tensor of `size` bytes, by its name among a model's inputs."""
    with _lock:
        tensors, size_so_far = _so_far.get((tensor, way), Uploads())
        _so_far[tensor, way] = Uploads(tensors + 1, size_so_far + size)


def uploads() -> dict[tuple[str, Way], Uploads]:
    """(name of the tensor, way) -> what this process has uploaded so far."""
    with _lock:
        return dict(_so_far)
