"""Each mutation still fits the code, and its test exists, so that `mutations.py` can be run at any time."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.broken_promises import PROMISES
from helpers.broken_rules import RULES
from helpers.mutation import Mutation

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", (*RULES, *PROMISES), ids=lambda mutation: mutation.broken)
def test_a_mutation_fits_the_code_once_and_its_test_exists(mutation: Mutation) -> None:
    text = (REPO / "streamfx" / mutation.file).read_text()
    assert text.count(mutation.old) == 1, mutation.file
    file, _, test = mutation.test.partition("::")
    assert f"def {test.partition('[')[0]}(" in (REPO / file).read_text()
