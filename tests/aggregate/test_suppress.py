"""No cell that is too small is shown, and none of them can be computed from those that are shown.

The law is checked by another way than the one by which cells are chosen: the reader's unknowns are the seconds of each
group and value, without any total, and what is shown are rows of a matrix over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.aggregate.cells import ALL, FACES, REST, Cell
from streamfx.aggregate.suppress import Equation, determined, hidden, with_margins

MEASURES: Mapping[str, tuple[str, ...]] = {"expression": ("a", "b", "c"), "au_12": ("present",), "au_45": ("measured",)}
Face = tuple[str, Mapping[str, frozenset[str]]]
"""A track's group, and what it shows of each measure, REST included."""


def cells_of(faces: list[Face]) -> dict[Cell, frozenset[int]]:
    """The cells of a bin without totals of groups."""
    found: dict[Cell, set[int]] = {}
    for track, (group, shows) in enumerate(faces):
        found.setdefault(Cell(group, FACES, ALL), set()).add(track)
        for measure, values in shows.items():
            for value in values:
                found.setdefault(Cell(group, measure, value), set()).add(track)
    return {cell: frozenset(tracks) for cell, tracks in found.items()}


def shows(values: tuple[str, ...]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from([*values, REST]), min_size=1, max_size=3)


@st.composite
def bins(draw: st.DrawFn) -> tuple[list[Face], list[str], int]:
    """A bin: its faces, the groups' names, and k."""
    groups = draw(st.sampled_from([[], ["x", "y"], ["x", "y", "z"]]))
    kinds = st.tuples(
        st.sampled_from(groups or [ALL]),
        st.fixed_dictionaries({name: shows(values) for name, values in MEASURES.items()}),
    )
    # Few kinds of faces, each several times: with each face different, nothing would ever be shown.
    faces = [face for face in draw(st.lists(kinds, min_size=1, max_size=6)) for _ in range(draw(st.integers(1, 9)))]
    return faces, sorted({group for group, _ in faces}) if groups else [], draw(st.integers(2, 5))


def functionals(cells: Mapping[Cell, frozenset[int]], groups: list[str]) -> tuple[list[Cell], dict[Cell, np.ndarray]]:
    """The unknowns, and each cell as a row over them. A group's faces are the sum over `expression`."""
    base = sorted(cell for cell in cells if cell.group in (groups or [ALL]) and cell.measure != FACES)
    at = {cell: number for number, cell in enumerate(base)}
    rows = {}
    for cell in cells:
        parts = groups if cell.group == ALL and groups else [cell.group]
        measure = "expression" if cell.measure == FACES else cell.measure
        row = np.zeros(len(base))
        for part in base:
            if part.group in parts and part.measure == measure and (cell.measure == FACES or part.value == cell.value):
                row[at[part]] = 1
        rows[cell] = row
    return base, rows


@settings(max_examples=150, deadline=None)
@given(bins())
def test_nothing_that_is_too_small_can_be_computed(case: tuple[list[Face], list[str], int]) -> None:
    faces, groups, k = case
    cells = with_margins(cells_of(faces), groups)
    dark = hidden(cells, groups, k)
    base, rows = functionals(cells, groups)
    shown = [cell for cell in cells if cell not in dark]
    assert not any(cell.value == REST for cell in shown)
    known = [rows[cell] for cell in shown]
    for group in groups or [ALL]:  # the faces of a group are the same seconds in each measure
        for measure in MEASURES:
            of = [float(c.group == group and c.measure == measure) for c in base]
            known.append(np.array(of) - rows[Cell(group, FACES, ALL)])
    matrix = np.array(known).reshape(len(known), len(base))
    rank = np.linalg.matrix_rank(matrix)
    for cell, tracks in cells.items():
        everyone = cells[Cell(cell.group, FACES, ALL)]
        outside = 0 if cell.value == REST else len(everyone - tracks)
        if len(tracks) >= k and not 0 < outside < k:
            continue
        assert cell in dark
        assert np.linalg.matrix_rank(np.vstack([matrix, rows[cell]])) == rank + 1, f"{cell} can be computed"


@settings(max_examples=150, deadline=None)
@given(bins())
def test_what_a_total_leaves_over_is_of_no_track_or_of_many(case: tuple[list[Face], list[str], int]) -> None:
    faces, groups, k = case
    cells = with_margins(cells_of(faces), groups)
    dark = hidden(cells, groups, k)
    shown = set(cells) - dark
    for total in shown:
        by_groups = [Cell(group, total.measure, total.value) for group in groups] if total.group == ALL else []
        by_values = [
            [c for c in cells if c.group == total.group and c.measure == measure]
            for measure in MEASURES
            if total.measure == FACES
        ]
        for parts in [by_groups, *by_values]:
            over = frozenset[int]().union(*(cells[part] for part in parts if part in cells and part in dark))
            assert not 0 < len(over) < k, f"what is left of {total} by {parts} are {len(over)} tracks"


def one_group(*counts: int) -> dict[Cell, frozenset[int]]:
    """Faces of one group, of which so many show each of a, b, c, and no face two of them."""
    made, at = {}, 0
    for value, count in zip("abc", counts, strict=False):
        made[Cell(ALL, "expression", value)] = frozenset(range(at, at + count))
        at += count
    return {**made, Cell(ALL, FACES, ALL): frozenset(range(at))}


@pytest.mark.parametrize(
    ("counts", "dark"),
    [
        ((5, 6, 7), ""),
        ((5, 6, 0), ""),  # that nobody shows c is no secret
        ((5, 6, 2), "ac"),  # a is hidden too: c would be the rest of all faces
        ((2, 2, 9), "ab"),  # together they are 4, which may be known
        ((1, 1, 9), "abc"),  # together they are 2, so c is hidden too
        ((9, 0, 0), ""),
        ((9, 1, 0), "ab"),  # a would tell how many are outside it
    ],
)
def test_the_fewest_cells_are_hidden(counts: tuple[int, ...], dark: str) -> None:
    assert hidden(one_group(*counts), [], 3) == {Cell(ALL, "expression", value) for value in dark}


def test_a_bin_of_few_faces_shows_nothing() -> None:
    assert hidden(one_group(2, 0, 0), [], 3) == {Cell(ALL, FACES, ALL), Cell(ALL, "expression", "a")}


def test_a_group_that_is_hidden_takes_another_with_it() -> None:
    cells = with_margins(
        {
            Cell(g, FACES, ALL): frozenset(range(10 * i, 10 * i + n))
            for i, (g, n) in enumerate([("x", 2), ("y", 5), ("z", 6)])
        },
        ["x", "y", "z"],
    )
    assert hidden(cells, ["x", "y", "z"], 3) == {Cell("x", FACES, ALL), Cell("y", FACES, ALL)}


def test_elimination_finds_what_only_several_equations_together_tell() -> None:
    a, b, c, d, total = (Cell(ALL, "m", name) for name in "abcdt")
    rules = [Equation(total, (a, b)), Equation(total, (b, c)), Equation(total, (a, c)), Equation(total, (d, a, b))]
    assert determined(rules[:2], {a, b, c}) == set()
    assert determined(rules[:3], {a, b, c}) == {a, b, c}
    assert determined(rules, {a, b, c, d}) == {a, b, c, d}


def two_groups(x: list[Sequence[str]], y: list[Sequence[str]]) -> dict[Cell, frozenset[int]]:
    """Faces of two groups, each with the expressions that it shows."""
    faces = [("x", {"expression": frozenset(shown)}) for shown in x] + [
        ("y", {"expression": frozenset(shown)}) for shown in y
    ]
    return with_margins(cells_of(faces), ["x", "y"])


def test_a_cell_of_many_that_tells_how_few_are_outside_is_not_left_to_subtraction() -> None:
    # Five of six in x show a: the total of all groups less y would tell it, though it is of many tracks.
    cells = two_groups([*["a"] * 5, [REST]], ["a"] * 5 + ["b"] * 5)
    dark = hidden(cells, ["x", "y"], 3)
    assert Cell("x", "expression", "a") in dark
    assert dark & {Cell("y", "expression", "a"), Cell(ALL, "expression", "a")}


def test_what_a_total_leaves_over_counts_without_the_parts_that_can_be_computed() -> None:
    # In x all seven show b, one also a, one also c. That b is hidden with a and c helps only if no other total tells b.
    cells = two_groups(["ab", "cb", *["b"] * 5], ["a"] * 10 + ["b"] * 10 + ["c"] * 10)
    dark = hidden(cells, ["x", "y"], 3)
    assert {Cell("x", "expression", value) for value in "abc"} <= dark
    assert dark & {Cell("y", "expression", "b"), Cell(ALL, "expression", "b"), Cell("x", FACES, ALL)}
