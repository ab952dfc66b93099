"""Environment variables in the configuration: `${NAME}` and `${NAME:-default}` in any text of the tree.

They are put in before anything is checked, so a variable may hold a number or a path. `$$` is a dollar sign.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

_DOLLAR = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<wrong>\{|[A-Za-z_]))"
)


class Variables:
    """Puts variables into one tree. `written` holds the text as it was written, by path, of each value that had some: a
    message shows that and never what the environment holds. `problems` has a sentence for each that cannot be put
    in."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = os.environ if environment is None else environment
        self.written: dict[str, str] = {}
        self.problems: list[str] = []

    def put_into(self, value: Any, path: str = "") -> Any:
        """The tree with its variables replaced; keys stay as they are."""
        if isinstance(value, dict):
            return {key: self.put_into(below, f"{path}.{key}" if path else str(key)) for key, below in value.items()}
        if isinstance(value, list):
            return [self.put_into(below, f"{path}.{index}") for index, below in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        text = _DOLLAR.sub(self._replacer(path, value), value)
        if text != value:
            self.written[path] = value
        return text

    def _replacer(self, path: str, whole: str) -> Callable[[re.Match[str]], str]:
        def replace(found: re.Match[str]) -> str:
            if found["dollar"]:
                return "$"
            if found["wrong"]:
                self.problems.append(
                    f"{path}: expected an environment variable as ${{NAME}} or ${{NAME:-default}}, got {whole!r}; "
                    "a dollar sign is written $$"
                )
                return found[0]
            # As in a shell, `:-` also stands for a variable that is empty.
            name, default = found["name"], found["default"]
            value = self._environment.get(name)
            if value or (value is not None and default is None):
                return value
            if default is None:
                self.problems.append(
                    f"{path}: the environment variable {name} is not set; set it, or write ${{{name}:-default}} "
                    "(a dollar sign is written $$)"
                )
                return found[0]
            return default.removeprefix(":-")

        return replace
