"""The configuration as text: a YAML file, and `--set` values that are put into what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from streamfx.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key stands once: PyYAML would take the last one, and drop a whole section without a word."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node


def _parsed(text: str) -> Any:
    """What a YAML text says; ValueError says why it says nothing."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:  # also a thousand brackets
        raise ValueError(str(error)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    try:
        tree = _parsed(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of sections, got {type(tree).__name__}")
    return tree


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Put the value of `a.b=value` (YAML) into the tree; ConfigError where that is not what came."""
    path, found, text = override.partition("=")
    if not found or not path:
        raise ConfigError(f"--set {override!r}: expected a.b=value")
    *parents, last = path.split(".")
    here = tree
    for i, key in enumerate(parents):
        below = here.get(key)
        if below is None:
            below = here[key] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override!r}: {'.'.join(parents[: i + 1])} is not a section")
        here = below
    try:
        here[last] = _parsed(text)
    except ValueError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from error
