"""Drawn sets that the tests of questions share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from helpers.drawn_sets import write_drawn_set

from streamfx.train.face_qa.build import Sources, make_questions
from streamfx.train.face_qa.table import read_images, read_questions


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of thirty people."""
    return write_drawn_set(tmp_path_factory.mktemp("drawn") / "first", seed=1)


@pytest.fixture(scope="session")
def drawn_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of sixteen others, for the test."""
    return write_drawn_set(tmp_path_factory.mktemp("drawn") / "second", seed=2, people=16)


@pytest.fixture(scope="session")
def made(drawn: Path, drawn_test: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions about both."""
    out = tmp_path_factory.mktemp("made")
    make_questions(Sources([drawn], test=[drawn_test]), out, seed=5)
    return out


@pytest.fixture
def questions(made: Path) -> pd.DataFrame:
    return read_questions(made)


@pytest.fixture
def images(made: Path) -> pd.DataFrame:
    return read_images(made)
