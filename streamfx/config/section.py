"""What every section of the configuration is made of."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

Seconds = Annotated[float, Field(gt=0, le=1e9)]
"""A time in seconds. The bound is about where the operating system's timers end."""
Count = Annotated[int, Field(ge=1)]


def http_url(text: str) -> str:
    """The text, if it is a URL of http or https with a host; ValueError otherwise."""
    try:
        parts = urlsplit(text)
        host = re.fullmatch(r"[\w.:-]+", parts.hostname or "", re.ASCII)
        right = parts.scheme in ("http", "https") and host and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError("expected a URL such as http://host:port/path")
    return text


def _word(text: str) -> str:
    if not text.strip():
        raise ValueError("expected some text (leave the key out for its default)")
    return text


def _address(text: str) -> str:
    host, found, port = text.rpartition(":")
    if not (found and port.isascii() and port.isdecimal() and 0 < int(port) < 65536 and _HOST.fullmatch(host)):
        raise ValueError("expected host:port, without a scheme and without a path")
    return text


def _addresses(text: str) -> str:
    for address in text.split(","):
        _address(address.strip())
    return text


def _topic(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,180}", text) or text in (".", ".."):
        raise ValueError("expected a topic's name: letters, digits, `.`, `_` and `-`, at most 180")
    return text


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("expected the name of an environment variable, without $ and never the secret itself")
    return text


_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]")
HttpUrl = Annotated[str, AfterValidator(http_url)]
Word = Annotated[str, AfterValidator(_word)]
"""A text that is not blank."""
Address = Annotated[str, AfterValidator(_address)]
"""`host:port`."""
Addresses = Annotated[str, AfterValidator(_addresses)]
"""`host:port`, several of them separated by commas."""
TopicName = Annotated[str, AfterValidator(_topic)]
"""A Kafka topic, which is the name of a folder too."""
VariableName = Annotated[str, AfterValidator(_variable)]
"""Where a secret is, never the secret."""
OBJECT_STORE = Field(json_schema_extra={"object_store": True})
"""Marks a path that may be `s3://bucket/prefix`; any other path is one of this file system."""
RELOADABLE = Field(json_schema_extra={"live": True})
"""Marks a knob that may change while a run goes on (`Annotated[Count, RELOADABLE]`): no row depends on it, and the one
place that reads it asks for it anew each time. All others want a restart."""


def is_reloadable(field: FieldInfo) -> bool:
    """Whether the knob may change while a run goes on."""
    return _marked(field, "live")


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values do not change, numbers are finite. The string under each
    field documents it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic would accept true as 1.
        name = info.field_name
        if isinstance(value, bool) and name is not None and {int, float} & set(_choices(cls.model_fields[name])):
            raise ValueError("expected a number (YAML reads yes, no, on and off as true and false)")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_an_empty_path(cls, value: object, info: ValidationInfo) -> object:
        # An empty path would be the working directory.
        if value == "" and info.field_name is not None and Path in _choices(cls.model_fields[info.field_name]):
            raise ValueError("expected a path (leave the key out for its default)")
        return value

    @field_validator("*")
    @classmethod
    def _check_paths(cls, value: object, info: ValidationInfo) -> object:
        # No shell expands these: each would quietly become the name of a folder.
        field = cls.model_fields[info.field_name or ""]
        for path in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(path, Path):
                _check_path(str(path), object_store=_marked(field, "object_store"))
        return value


def _choices(field: FieldInfo) -> tuple[object, ...]:
    return (field.annotation, *typing.get_args(field.annotation))


def _marked(field: FieldInfo, name: str) -> bool:
    return isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(name) is True


def _check_path(path: str, object_store: bool) -> None:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):(/|$)", path)
    if path.startswith("~"):
        raise ValueError("expected a path: `~` is not followed, write ${HOME}/… or the whole path")
    if scheme and not (object_store and scheme[1] == "s3"):
        store = " or s3://bucket/prefix" if object_store else ""
        raise ValueError(f"expected a path of this machine's file system{store}, not the URL of another place")
    if object_store and scheme and not re.match(r"s3:/+[A-Za-z0-9][\w.-]*(/|$)", path, re.ASCII):
        raise ValueError("expected s3://bucket/prefix")
    if not path.isprintable():
        raise ValueError("expected a path of characters that can be printed")
