"""The package outside the tree (`tests/foreign/light`), which brings a served model, its operator and its Triton
folder."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FOREIGN = Path(__file__).parents[1] / "foreign"
TRITON = FOREIGN / "light" / "triton_models"
WEIGHTS = FOREIGN / "light" / "weights" / "light-1"
INSTALLED = {**os.environ, "PYTHONPATH": str(FOREIGN)}
"""The environment of a process in which the package is installed; Ray's workers inherit it."""


@contextmanager
def light_model() -> Iterator[Any]:
    """The class of the foreign model, while its package is installed in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOREIGN))
        yield importlib.import_module("light.model").LightModel


def light_of_size(folder: Path, side: int) -> Path:
    """A model directory of `light` that takes frames of this side."""
    folder.mkdir()
    card = json.loads((WEIGHTS / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"sizes": {"image_size": side}}))
    return folder
