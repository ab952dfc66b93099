"""The dataset that the tests of episodes write."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the dataset."""
    return tmp_path / "out"
