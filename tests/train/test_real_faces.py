"""The pure functions of `benchmarks/real_faces.py`; fetching packages is not tested, as no test needs the network."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The module `benchmarks/real_faces.py`."""
    path = Path(__file__).parents[2] / "benchmarks" / "real_faces.py"
    spec = importlib.util.spec_from_file_location("streamfx_benchmark_real_faces", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_agreement_counts_faces_and_averages_over_the_classes_of_the_judge(benchmark: ModuleType) -> None:
    wanted = np.array([0, 0, 0, 1])
    named = np.eye(3)[[0, 0, 2, 0]] * 0.8 + 0.2 / 3
    result = benchmark.agreement(("happiness", "sadness", "neutral"), wanted, named)
    assert result["overall"] == 0.5 and result["balanced"] == pytest.approx(1 / 3, abs=1e-3)
    low, high = result["overall_interval"]
    assert 0 <= low <= 0.5 <= high <= 1
    assert result["classes"]["neutral"] == {"judge": 0, "model": 1, "recall": None}
    assert result["confidence"]["mean"] == pytest.approx(0.867, abs=1e-3)


def test_a_square_is_cut_around_the_box_and_is_black_outside_the_picture(benchmark: ModuleType) -> None:
    picture = np.full((100, 100, 3), 255, np.uint8)
    cut = np.asarray(benchmark.square(picture, (0.0, 0.0, 40.0, 50.0), 1.0, 0.1))
    assert cut.shape == (50, 50, 3)
    assert not cut[:, :5].any() and cut[:, 5:].all()  # the middle is at (20, 30)


def test_the_hash_forgets_size_and_light_but_not_the_picture(benchmark: ModuleType) -> None:
    random = np.random.default_rng(1)
    first, second = (Image.fromarray(random.integers(0, 200, (8, 9), np.uint8)).resize((90, 80)) for _ in range(2))
    brighter = Image.fromarray(np.asarray(first.resize((45, 40))) + np.uint8(40))
    assert (benchmark.bits(first) != benchmark.bits(brighter)).sum() <= 4
    assert (benchmark.bits(first) != benchmark.bits(second)).sum() > benchmark.SAME_BITS


def test_an_archive_with_another_digest_is_refused(benchmark: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"damaged")
    package = benchmark.Package("npm", "a@1", "a.tgz", hashlib.sha256(b"whole").hexdigest(), ())
    with pytest.raises(SystemExit, match="expected sha256"):
        benchmark.fetch(package, tmp_path)
