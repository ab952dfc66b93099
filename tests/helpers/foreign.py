"""The package outside the tree (`tests/foreign/light`), which brings a served model, its operator and its Triton
folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

FOREIGN = Path(__file__).parents[1] / "foreign"
TRITON = FOREIGN / "light" / "triton_models"
WEIGHTS = FOREIGN / "light" / "weights" / "light-1"
INSTALLED = {**os.environ, "PYTHONPATH": str(FOREIGN)}
"""The environment of a process in which the package is installed; Ray's workers inherit it."""


def light_of_size(folder: Path, side: int) -> Path:
    """A model directory of `light` that takes frames of this side."""
    folder.mkdir()
    card = json.loads((WEIGHTS / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"sizes": {"image_size": side}}))
    return folder
