"""Prints docs/config.md from the typed configuration, so that the page cannot lie."""

from __future__ import annotations

import types
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamfx.config.messages import entries_of, section_of
from streamfx.config.section import is_reloadable
from streamfx.config.tree import Config
from streamfx.pipeline import find_operator, installed_operators

INTRO = """# Configuration

Made by `make docs` from the typed tree in `streamfx/config/` and the operators' own types; a test holds them
together.

Every key below can stand in the YAML file or be given as `--set path=value` (the value is YAML). Unknown keys are
refused, and so is a key that is written twice; numbers must be finite. `streamfx config schema` prints the JSON
Schema.

**Environment variables.** `${NAME}` in any text, also of `--set`, is replaced by the variable, and `${NAME:-default}`
by the default where it is unset or empty, before anything is checked: `sink: {path: "${DATA_DIR}/rows"}`,
`batch_size: ${BATCH:-4}`. A variable stands for one text, number or `true`/`false`, never for a list or a section,
and never in a key. An unset variable is an error that names the path of its key. `$$` is a dollar sign; `$NAME`
without braces is refused. Messages show what is written, never what the environment holds. Secrets have keys of their
own (`…_file`, `…_env`), which say where the secret is and never hold it. A changed file is read again with the
variables that the process started with. Training recipes take variables too. The Helm chart passes no variables of
its user's to the pods: there, set values under `overrides`, or write defaults.

**Checking.** `streamfx config check FILE` ends with 1 and names the path of each value that no machine could run
with, alone or together with others, and of each file, folder, variable and package that is not on this machine; a run
refuses the same at its start. With `--elsewhere`, for a cluster's file, the latter are listed and are no error.
`--deep` is for the machine or pod that will run it: it also loads the model or asks Triton for it, asks the Kafka
broker for the topic and the dead-letter topic with the login, and the dataset's storage whether it refuses a second
file of one name. It also reads the consent topic, asks the claim checks' storage, the trace collector and Ray's
address, and ends with 1 if any of them does not answer. Each time it lists what it checked and what it did not.

A key that is *live* may change while a run goes on
([operate.md](operate.md#changing-the-configuration-of-a-running-line)); the others want a restart.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRO]
    for name, field in Config.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            parts.append(f"\n## {name}\n\n{_table([(name, field)])}")
        else:
            parts.append(f"\n## {name}\n\n{_table(list(_leaves(section, name)))}")
    parts.append("\n# Operators\n\nEach operator named in `pipeline` has a section under its own name.\n")
    for name in sorted(installed_operators()):
        operator = find_operator(name)
        if operator.__module__.startswith("streamfx_operators"):
            parts.append(f"\n## {name}\n\n{_table(list(_leaves(operator.Config, name)))}")
    return "".join(parts)


def _leaves(section: type[BaseModel], path: str) -> typing.Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        below, entries = section_of(field.annotation), entries_of(field.annotation)
        if below is None:
            yield f"{path}.{name}", field
        else:
            yield from _leaves(below, f"{path}.{name}")
        if entries is not None:
            yield from _leaves(entries, f"{path}.{name}.NAME")


def _is_union(annotation: typing.Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _table(fields: list[tuple[str, FieldInfo]]) -> str:
    rows = ["| key | type | default | range | live | what it does |", "|---|---|---|---|---|---|"]
    for path, field in fields:
        cells = (
            f"`{path}`",
            _type(field.annotation),
            _default(field),
            _range(field),
            "yes" if is_reloadable(field) else "",
            " ".join((field.description or "").split()),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _type(annotation: typing.Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    if _is_union(annotation):
        return " or ".join(_type(choice) for choice in typing.get_args(annotation) if choice is not type(None))
    if typing.get_origin(annotation) is typing.Annotated:
        return _type(typing.get_args(annotation)[0])
    if entries_of(annotation) is not None:
        return "a section for each NAME"
    if typing.get_origin(annotation) is list:
        return f"list of {_type(typing.get_args(annotation)[0])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "none" if default is None or default is PydanticUndefined or default in ([], {}) else f"`{default}`"


def _range(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "at least"}
    found = [f"{signs[key]} {getattr(item, key)}" for item in field.metadata for key in signs if hasattr(item, key)]
    return ", ".join(found)


if __name__ == "__main__":
    print(page(), end="")
