"""The dataset that these tests write and other tools read."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.datasets import Maker


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the dataset."""
    return tmp_path / "out"


@pytest.fixture
def maker(place: Path) -> Maker:
    """Writes the dataset at `place`."""
    return Maker(place)
