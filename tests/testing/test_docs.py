"""The page on testing an operator: its code runs as it is printed, and it names all that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import streamfx.testing

PAGE = (Path(__file__).parents[2] / "docs" / "testing-operators.md").read_text()


def test_the_example_runs_as_it_is_printed(tmp_path: Path) -> None:
    test, operator = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "brightness_op.py").write_text(operator)
    (tmp_path / "test_brightness.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_brightness.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_table_names_everything() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(streamfx.testing.__all__)
