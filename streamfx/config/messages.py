"""Messages about a wrong configuration: each a sentence with the path, what was expected, what came and what to do."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from streamfx.errors import did_you_mean

_UNIONS = (typing.Union, types.UnionType)
_WORDS = {
    "int": "a whole number (integer)",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a section",
}
_NUMBER_WITH_UNIT = re.compile(r"\s*[\d.]+\s*[A-Za-zµ%]+\s*")
_UNITS = {"_s": "seconds", "_px": "pixels", "_bytes": "bytes", "_fps": "frames a second"}


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field's type is, or may be; None for a plain value."""
    for choice in typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def entries_of(annotation: Any) -> type[BaseModel] | None:
    """The section that each value of a field is which maps names to sections; None for any other field."""
    return section_of(typing.get_args(annotation)[1]) if typing.get_origin(annotation) is dict else None


def sentences(
    error: ValidationError,
    model: type[BaseModel],
    prefix: str = "",
    written: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
) -> list[str]:
    """One sentence a problem: path, what was expected, what came.

    `written` has the text of values that came from environment variables: it is shown in their place. `also` are keys
    that `model` takes at its top besides its own.
    """
    said = []
    for item in error.errors():
        path = ".".join(str(part) for part in ((prefix,) if prefix else ()) + item["loc"]) or "(top level)"
        came = _came(item["input"], (written or {}).get(path))
        if item["type"] == "extra_forbidden":
            said.append(f"{path}: unknown key; expected one of {_unknown(model, item['loc'], also)}")
        elif item["type"] == "missing":
            said.append(f"{path}: required, but not given")
        elif item["type"] == "path_type":
            said.append(f"{path}: expected a path, got {came}")
        elif item["type"] == "too_short":
            said.append(f"{path}: expected at least {_longer(item, came)}")
        elif item["type"] == "model_type":
            said.append(f"{path}: expected a section with some of the keys {_keys_at(model, item['loc'])}; got {came}")
        else:
            said.append(f"{path}: {_expected(item)}{_shown(item, came)}{_remedy(path, item)}")
    return said


def _came(value: object, written: str | None) -> str:
    if written is not None:
        return f"{written!r} with the environment's value"
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "a section" if isinstance(value, dict) else repr(value)


def _longer(item: Any, came: str) -> str:
    least, value = item["ctx"]["min_length"], item["input"]
    if isinstance(value, str):
        return f"{least} characters, got {len(value)} in {came}"
    return f"{least} item, got an empty list"


def _expected(item: Any) -> str:
    words = _WORDS.get(item["type"].partition("_")[0])
    if words and item["type"].endswith(("_type", "_parsing", "_from_float")):
        return f"expected {words}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if message.startswith("Input should be "):
        wanted = message.removeprefix("Input should be ")
        return f"expected {'a number ' if wanted.startswith(('greater', 'less')) else ''}{wanted}"
    return message[0].lower() + message[1:]


def _shown(item: Any, came: str) -> str:
    # The message of a rule about a whole section already names what it is about.
    whole = item["type"] == "value_error" and isinstance(item["input"], (dict, list))
    return "" if whole else f", got {came}"


def _remedy(path: str, item: Any) -> str:
    kind, came = item["type"], item["input"]
    if kind == "literal_error":
        return did_you_mean(came, re.findall(r"'([^']+)'", item["ctx"]["expected"]))
    if kind.startswith(("int", "float")) and isinstance(came, str) and _NUMBER_WITH_UNIT.fullmatch(came):
        unit = next((unit for end, unit in _UNITS.items() if path.endswith(end)), None)
        return f"; give a bare number of {unit}" if unit else "; give a bare number, without a unit"
    if kind == "list_type" and isinstance(came, str):
        return "; write one item in brackets: [item]"
    if kind == "string_type":
        return "; put it in quotes" if isinstance(came, (int, float)) else "; give one text"
    return ""


def _keys_at(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """The keys that the section at `path` knows."""
    below = _section_at(model, path)
    return "none" if below is None else ", ".join(below.model_fields)


def _section_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[str(part)].annotation
        below = section_of(annotation)
        if below is None and next(parts, None) is not None:
            below = entries_of(annotation)
        if below is None:
            return None
        model = below
    return model


def _unknown(model: type[BaseModel], path: Sequence[str | int], also: Sequence[str]) -> str:
    """The keys that are known where an unknown one stands, and the one that was perhaps meant, here or elsewhere."""
    section = _section_at(model, path[:-1])
    if section is None:
        return "none"
    known = [*section.model_fields, *(also if len(path) == 1 else ())]
    near = did_you_mean(path[-1], known)
    if not near:
        place = next((place for place in _places(model) if place.rpartition(".")[2] == path[-1]), None)
        near = f"; did you mean {place!r}?" if place else ""
    return ", ".join(known) + near


def _places(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """The paths of all keys of the tree."""
    for name, field in model.model_fields.items():
        yield above + name
        below = section_of(field.annotation)
        if below is not None:
            yield from _places(below, f"{above}{name}.")
