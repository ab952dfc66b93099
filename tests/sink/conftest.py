"""Fixtures of rows and datasets for the sink's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers.datasets import COLUMNS, PARTITION, Rows, identity

from streamfx.columns import Column
from streamfx.records import Partition
from streamfx.sink.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parent))  # for the simulation, which pytest does not collect

OpenDataset = Callable[..., Dataset]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the dataset."""
    return tmp_path / "out"


@pytest.fixture
def open_dataset(place: Path) -> OpenDataset:
    """Opens the dataset at `tmp_path/out`; keywords change the identity, `config_id`, `columns` or `fs`."""

    def opened(config_id: str = "c1", columns: tuple[Column, ...] = COLUMNS, fs: Any = None, **changes: Any) -> Dataset:
        footer = {"purpose": "test", "deployment_context": "research"}
        return Dataset.open(place, identity(**changes), config_id, columns, footer, fs=fs, with_model=("expression",))

    return opened


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., Rows]:
    """`Rows` by configuration and columns."""
    return cache(Rows)


@pytest.fixture(scope="session")
def rows(make_rows: Callable[..., Rows]) -> Rows:
    """Rows of the default configuration."""
    return make_rows()


@pytest.fixture
def partition() -> Partition:
    """The partition that the tests write."""
    return PARTITION


@pytest.fixture
def operator_columns() -> tuple[Column, ...]:
    """The columns that the tests' pipeline declares."""
    return COLUMNS
