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
    """A value, as JSON has them, as one line of YAML: any text, also a file name that is not UTF-8, is read back as it
    was."""
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
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise ConfigError(
            f"cannot read the configuration {path}: {getattr(error, 'strerror', None) or error}; expected a YAML file"
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        found = "UTF-16 text" if wide else str(error)
        raise ConfigError(f"{path} is not UTF-8 text ({found}); save it as UTF-8") from error
    try:
        tree = _parsed(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}{_hint(str(error), text)}") from error
    if tree is None:
        raise ConfigError(f"{path} is empty; expected a mapping of sections, such as `source:` and `sink:`")
    if not isinstance(tree, dict):
        kind = "a list" if isinstance(tree, list) else "a single value"
        raise ConfigError(f"{path}: expected a mapping of sections, such as `source:` and `sink:`, got {kind}")
    return tree


def _hint(error: str, text: str) -> str:
    if "'\\t'" in error or "\\t" in error:
        lines = [str(number) for number, line in enumerate(text.splitlines(), 1) if line.startswith("\t")]
        return "\nYAML is indented by spaces, never by tabs" + (
            f"; tabs are in line {', '.join(lines[:5])}" if lines else ""
        )
    return ""


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Put the value of `a.b=value` (YAML) into the tree; ConfigError where that is not what came."""
    path, found, text = override.partition("=")
    *parents, last = path.split(".")
    if not found or not all((*parents, last)):
        raise ConfigError(
            f"--set {override!r}: expected a.b=value, a path of keys with dots between them, = and a value"
        )
    here = tree
    for i, key in enumerate(parents):
        below = here.get(key)
        if below is None:
            below = here[key] = {}
        if not isinstance(below, dict):
            kind = "a list; set it as a whole" if isinstance(below, list) else "a value"
            raise ConfigError(f"--set {override!r}: {'.'.join(parents[: i + 1])} is not a section, it is {kind}")
        here = below
    try:
        here[last] = _parsed(text)
    except ValueError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}; put it in quotes") from error
