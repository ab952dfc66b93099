"""Which cells of a bin may not be shown, so that none of them can be computed from those that are.

A cell is **unsafe** if it has some tracks but fewer than k, or if some but fewer than k of the tracks that are seen in the
same bin and group are outside it: the number of those would follow by subtraction. These are hidden, and then further ones,
those of the fewest tracks first, until what is shown keeps two rules. Its equations are: the faces of a group are the sum
of the values of each measure and of a rest that has none, which is never shown; and a cell of all groups together is the
sum of the groups' cells.

1. Where a total is known, the parts that are not known have no track, or at least k distinct tracks together.
2. No unsafe cell follows from the shown ones by linear algebra over all equations. A cell without tracks counts as known:
   that there was nobody is not protected.

The seconds in a cell that has tracks are positive. So a reader who also uses that none is negative computes no more than
linear algebra does: the true numbers lie inside the set of those that are possible, and not on its edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from streamfx.aggregate.cells import ALL, FACES, REST, Cell

Tracks = Mapping[Cell, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Equation:
    """`total` is the sum of `parts`."""

    total: Cell
    parts: tuple[Cell, ...]


def equations(cells: Tracks, groups: Sequence[str]) -> list[Equation]:
    """What adds up to what. `groups` are the parts of the group `all`; there are none where all streams are one group."""
    values = sorted({(cell.measure, cell.value) for cell in cells})
    measures = sorted({measure for measure, _ in values} - {FACES})
    found = [
        Equation(Cell(group, FACES, ALL), tuple(Cell(group, m, value) for m, value in values if m == measure))
        for group in (ALL, *groups)
        for measure in measures
    ]
    if groups:
        found += [Equation(Cell(ALL, *what), tuple(Cell(group, *what) for group in groups)) for what in values]
    return found


def with_margins(parts: Tracks, groups: Sequence[str]) -> dict[Cell, frozenset[int]]:
    """The cells of `groups`, the value `REST` among them, and those of all groups together; unchanged without groups."""
    cells = dict(parts)
    for cell in parts if groups else ():
        whole = Cell(ALL, cell.measure, cell.value)
        cells[whole] = cells.get(whole, frozenset()) | parts[cell]
    return cells


def hidden(cells: Tracks, groups: Sequence[str], k: int) -> set[Cell]:
    """The cells that may not be shown, those of the value `REST` included."""
    seen = {cell: tracks for cell, tracks in cells.items() if tracks}
    unsafe = {cell for cell in seen if _is_unsafe(seen, cell, k)}
    dark = unsafe | {cell for cell in seen if cell.value == REST}
    rules = [
        Equation(e.total, tuple(part for part in e.parts if part in seen))
        for e in equations(seen, groups)
        if e.total in seen
    ]
    while more := _further(seen, rules, unsafe, dark, k):
        dark |= more
    return dark


def _is_unsafe(seen: Tracks, cell: Cell, k: int) -> bool:
    inside = len(seen[cell])
    faces = seen[Cell(cell.group, FACES, ALL)]
    outside = len(faces - seen[cell]) if cell.value != REST else 0
    return inside < k or 0 < outside < k


def _further(seen: Tracks, rules: Sequence[Equation], unsafe: set[Cell], dark: set[Cell], k: int) -> set[Cell]:
    """Cells to hide beside those that are; none where both rules hold."""
    computed = determined(rules, dark)
    unknown = dark - computed
    more: set[Cell] = set()
    for rule in rules:
        parts = [part for part in rule.parts if part in unknown]
        together = frozenset[int]().union(*(seen[part] for part in parts))
        if rule.total not in unknown and 0 < len(together) < k:
            more |= _smallest(seen, rule.parts, dark) or _smallest(seen, [rule.total], dark)
    if more:
        return more
    for cell in sorted(computed & unsafe):
        near = [rule for rule in rules if cell == rule.total or cell in rule.parts]
        parts = [part for rule in near for part in rule.parts]
        more |= _smallest(seen, parts, dark) or _smallest(seen, [rule.total for rule in near], dark)
    if not more and computed & unsafe:
        more = _smallest(seen, list(seen), dark)
    return more


def _smallest(seen: Tracks, cells: Sequence[Cell], dark: set[Cell]) -> set[Cell]:
    """The shown cell of the fewest tracks; nothing where none of them is shown."""
    shown = [cell for cell in cells if cell not in dark]
    return {min(shown, key=lambda cell: (len(seen[cell]), cell))} if shown else set()


def determined(rules: Sequence[Equation], dark: set[Cell]) -> set[Cell]:
    """Those of the hidden cells that follow from the shown ones: exact elimination over all equations."""
    pivots: dict[Cell, dict[Cell, Fraction]] = {}
    for rule in rules:
        row = {part: Fraction(1) for part in rule.parts if part in dark}
        if rule.total in dark:
            row[rule.total] = Fraction(-1)
        for cell, pivot in pivots.items():
            _subtract(row, pivot, cell)
        if not row:
            continue
        cell = min(row)
        lead = row[cell]
        row = {name: number / lead for name, number in row.items()}
        for other in pivots.values():
            _subtract(other, row, cell)
        pivots[cell] = row
    return {cell for cell, row in pivots.items() if len(row) == 1}


def _subtract(row: dict[Cell, Fraction], pivot: Mapping[Cell, Fraction], cell: Cell) -> None:
    """Take so much of `pivot` from `row` that `cell` is no longer in it."""
    factor = row.get(cell)
    if factor is None:
        return
    for name, number in pivot.items():
        left = row.get(name, Fraction(0)) - factor * number
        if left:
            row[name] = left
        else:
            row.pop(name, None)
