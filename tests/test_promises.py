"""docs/privacy.md: each promise names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import broken_promises

REPO = Path(__file__).parents[1]
PROMISES = re.findall(r"^\| (P\d+) \| .* \| (.*) \|$", (REPO / "docs" / "privacy.md").read_text(), re.M)


def test_promises_are_numbered_without_a_gap() -> None:
    assert [name for name, _ in PROMISES] == [f"P{number}" for number in range(1, len(PROMISES) + 1)]


@pytest.mark.parametrize(("name", "tests"), PROMISES, ids=[name for name, _ in PROMISES])
def test_a_promise_has_a_test(name: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)::(\w+)`", tests)
    assert named, name
    for file, test in named:
        assert f"def {test}(" in (REPO / file).read_text(), f"{name}: {file} has no {test}"


def test_promises_with_a_star_are_those_that_are_broken_on_trial() -> None:
    page = (REPO / "docs" / "privacy.md").read_text()
    starred = set(re.findall(r"^\| (P\d+) \| [^|]*\\\* \|", page, re.M))
    assert starred == {str(mutation.rule) for mutation in broken_promises.PROMISES}
