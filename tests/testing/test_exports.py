"""The face of streamfx.testing: what is public is listed and described, and nothing of a test framework is needed."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import streamfx.testing

REPO = Path(__file__).parents[2]
FOLDER = Path(streamfx.testing.__file__).parent


def test_what_is_listed_is_exactly_what_is_public() -> None:
    public = {name for name, value in vars(streamfx.testing).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert public == set(streamfx.testing.__all__)
    assert streamfx.testing.__all__ == sorted(streamfx.testing.__all__, key=lambda name: (not name.isupper(), name))


def test_each_has_a_docstring() -> None:
    described = set()
    for file in FOLDER.glob("*.py"):
        body = ast.parse(file.read_text()).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                described.add(node.name)
                described |= {
                    f"{node.name}.{one.name}"
                    for one in node.body
                    if isinstance(one, ast.FunctionDef) and ast.get_docstring(one)
                }
            constant = (
                isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(node.targets[0], ast.Name)
            )
            if constant and isinstance(after.value, ast.Constant):
                described.add(node.targets[0].id)
    wanted = set(streamfx.testing.__all__)
    for name in streamfx.testing.__all__:
        value = getattr(streamfx.testing, name)
        if inspect.isclass(value):
            methods = (m for m in vars(value) if m[0] != "_" and inspect.isfunction(vars(value)[m]))
            wanted |= {f"{name}.{method}" for method in methods}
    assert wanted <= described, wanted - described


def test_importing_it_needs_no_test_dependency() -> None:
    """Everything in the extra `dev` that the product itself does not need is hidden from the import."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    hidden = {"pytest", "hypothesis", "helpers", "tests", "skimage", "pyarrow", "duckdb", "polars", "moto", "psutil"}
    named = " ".join(project["optional-dependencies"]["dev"])
    assert all(name in named for name in ("pytest", "hypothesis", "psutil", "duckdb")), "the list is of the extra `dev`"
    script = (
        "import sys\n"
        f"for name in {sorted(hidden)!r}: sys.modules[name] = None\n"
        "import streamfx.testing as testing\n"
        "assert testing.make_window().frames.shape == (16, 112, 112, 3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
