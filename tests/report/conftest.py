"""Datasets for the tests of the report, and the plotting library, which is fetched once and not by tests."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.lacking import lacks

from streamfx.report.library import UPLOT

REPO = Path(__file__).parents[2]


def month() -> ModuleType:
    """The module `benchmarks/report.py`, which draws datasets as columns."""
    if "benchmark_report" not in sys.modules:
        spec = importlib.util.spec_from_file_location("benchmark_report", REPO / "benchmarks" / "report.py")
        assert spec and spec.loader
        sys.modules["benchmark_report"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["benchmark_report"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of a dataset that a test writes."""
    return tmp_path / "out"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of eight streams over two days, of 6,400 windows and under two versions."""
    folder = tmp_path_factory.mktemp("drawn") / "dataset"
    month().Month(6400, streams=8, days=2, partitions=2).write(folder)
    return folder


@pytest.fixture
def library() -> None:
    """Skips where the plotting library was not fetched."""
    if not UPLOT.is_here:
        lacks("the plotting library", "streamfx models fetch")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by playwright, whose event loop runs in this thread until the last test of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()
