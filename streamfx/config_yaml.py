"""The configuration as text: a YAML file, and `--set` values that are put into what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from streamfx.errors import ConfigError

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""The rest of the surrogates stand for the bytes of a file name that is not UTF-8."""


def yaml_text(value: object) -> str:
    """A value, as JSON has them, as one line of YAML: any text, also a file name that is not UTF-8, is read back as it was."""
    # JSON writes an emoji as two halves, which YAML reads as two characters.
    plain = json.dumps(value, ensure_ascii=False)
    return "".join(sign if " " <= sign <= "~" else f"\\U{ord(sign):08X}" for sign in plain)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key stands once: PyYAML would take the last one, and drop a whole section without a word."""

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if not isinstance(value, str):
            return value
        # JSON may write what is beyond 16 bits as a surrogate pair, and JSON is YAML.
        value = _PAIR.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), value)
        if odd := _NO_TEXT.search(value):
            raise yaml.MarkedYAMLError(problem=f"{odd[0]!r} is in no text and no name", problem_mark=node.start_mark)
        return value

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
