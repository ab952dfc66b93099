"""A rule or a promise, and how it is broken for a test that must notice."""

from __future__ import annotations

from dataclasses import dataclass

CASES = "tests/sink/test_crash_points.py::test_each_row_exists_once_whichever_process_dies_at_any_point"
TWO, KEPT = f"{CASES}[two writers]", f"{CASES}[two writers, compaction, erasure]"


@dataclass(frozen=True)
class Mutation:
    """One broken rule, by its number in ARCHITECTURE.md or in docs/privacy.md: in `file` of the package `old` becomes `new`,
    and `test` must fail."""

    rule: int | str
    broken: str
    file: str
    old: str
    new: str
    test: str
