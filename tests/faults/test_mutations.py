"""Each mutation still fits the code, and its test exists, so that `mutations.py` can be run at any time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("mutations", Path(__file__).with_name("mutations.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


MUTATIONS = _load().MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.broken)
def test_a_mutation_fits_the_code_once_and_its_test_exists(mutation: Any) -> None:
    text = (REPO / "streamfx" / mutation.file).read_text()
    assert text.count(mutation.old) == 1, mutation.file
    file, _, test = mutation.test.partition("::")
    assert f"def {test.partition('[')[0]}(" in (REPO / file).read_text()
