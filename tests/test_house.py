"""The house: rooms import only what lies below them, never in a circle, and files stay small enough to read.

Imports are read from the source, those inside functions and under TYPE_CHECKING too: what is hidden from the
interpreter is not hidden from a reader.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import pytest

REPO = Path(__file__).parents[1]
ROOTS = {"streamfx": REPO / "streamfx", "streamfx_operators": REPO / "operators" / "streamfx_operators"}
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "records", "processes", "patience", "whole_files"),
    ("columns", "plugins", "shipped", "terminal"),
    ("config",),
    ("nets",),
    ("detection", "media"),
    ("models",),
    ("privacy", "serving"),
    ("operator", "redaction", "sink"),
    ("source", "aggregate", "episodes", "lake"),
    ("pipeline", "export"),
    ("runtime", "synth", "report"),
    ("train", "tuning"),
    ("audit",),
    ("cli",),
    ("demo",),
)
"""Rooms and loose files from the ground up: each may import itself and what lies on a lower floor. The package's
`__init__` (its version) may be imported by all; `testing` and `__main__` stand outside, and may import anything."""
OUTSIDE = ("testing", "__main__", "streamfx_operators")
LOOSE_MAX, MEDIAN_MAX, LINES_MAX = 13, 150, 450


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name -> file of all modules of the product."""
    for root, folder in ROOTS.items():
        for file in sorted(folder.rglob("*.py")):
            parts = [root, *file.relative_to(folder).with_suffix("").parts]
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


MODULES = dict(modules())


def imports_of(name: str, file: Path) -> set[str]:
    """The product's modules that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            # A module that is imported from its package is the module, not the package.
            if any(one in MODULES for one in names[:-1]):
                names = [one if one in MODULES else node.module for one in names[:-1]]
        found |= {one for one in names if one in MODULES and one != name}
    return found


GRAPH: Mapping[str, set[str]] = {name: imports_of(name, file) for name, file in MODULES.items()}


def room_of(module: str) -> str:
    """The room, or the loose file, that a module is in."""
    parts = module.split(".")
    return parts[0] if parts[0] != "streamfx" else parts[1] if len(parts) > 1 else "streamfx"


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of two or more that reach one another (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_a_circle_is_found_where_there_is_one() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_is_in_a_circle() -> None:
    assert circles(GRAPH) == []


def test_no_room_is_in_a_circle() -> None:
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, others in GRAPH.items():
        rooms[room_of(module)] |= {room_of(other) for other in others} - {room_of(module), "streamfx"}
    assert circles(rooms) == []


def test_every_room_stands_on_a_floor() -> None:
    known = {room for floor in FLOORS for room in floor} | {"streamfx", *OUTSIDE}
    assert {room_of(module) for module in MODULES} <= known


def test_the_floors_in_the_architecture_are_these() -> None:
    listed = "".join(f"    {', '.join(floor)}\n" for floor in reversed(FLOORS))
    assert listed in (REPO / "ARCHITECTURE.md").read_text()


def test_no_import_runs_up_or_across() -> None:
    level = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in sorted(others)
        if (here := room_of(module)) in level
        and (there := room_of(other)) not in (here, "streamfx")
        and level.get(there, len(level)) >= level[here]
    ]
    assert not wrong, "\n".join(wrong)


def test_operators_import_nothing_that_finds_or_runs_them() -> None:
    above = {"pipeline", "runtime", "sink", "source", "synth", "train", "tuning", "demo", "cli", "testing"}
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        if room_of(module) == "streamfx_operators"
        for other in sorted(others)
        if room_of(other) in above
    ]
    assert not wrong, "\n".join(wrong)


def test_serving_names_no_model() -> None:
    shared = {
        f"streamfx.models.{name}"
        for name in ("base", "card", "contract", "find", "npm_files", "outside", "outside_files", "wheel_files")
    }
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        if room_of(module) == "serving"
        for other in sorted(others - shared)
        if room_of(other) in ("models", "nets")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("start", ["streamfx.nets", "streamfx.models", "streamfx.serving.triton_model"])
def test_what_triton_imports_needs_torch_and_numpy_alone(start: str) -> None:
    """Followed through everything that it imports: the standard library, torch, numpy and safetensors, nothing else."""
    seen: set[str] = set()
    waiting = [module for module in MODULES if module == start or module.startswith(f"{start}.")]
    assert waiting
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += GRAPH[module]
    outside = {
        f"{module} imports {name}"
        for module in seen
        for name in foreign_imports(MODULES[module])
        if name not in {"torch", "numpy", "safetensors", "triton_python_backend_utils"}
    }
    assert not outside, "\n".join(sorted(outside))


def foreign_imports(file: Path) -> set[str]:
    """Top-level packages outside the standard library and the product that a file imports."""
    import sys

    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(ROOTS)


def test_files_are_small_enough_to_read() -> None:
    lines = {name: len(file.read_text().splitlines()) for name, file in MODULES.items()}
    long = {name: count for name, count in lines.items() if count > LINES_MAX}
    assert not long, f"over {LINES_MAX} lines: {long}"
    assert median(lines.values()) <= MEDIAN_MAX


def test_few_files_lie_loose() -> None:
    loose = [file.name for file in (REPO / "streamfx").glob("*.py")]
    assert len(loose) <= LOOSE_MAX, sorted(loose)


def test_every_file_says_in_its_first_line_what_it_is_for() -> None:
    silent = [name for name, file in MODULES.items() if not ast.get_docstring(ast.parse(file.read_text()))]
    assert not silent
