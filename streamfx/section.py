"""What every section of the configuration is made of."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

Seconds = Annotated[float, Field(gt=0)]
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


HttpUrl = Annotated[str, AfterValidator(http_url)]
LIVE = Field(json_schema_extra={"live": True})
"""Marks a knob that may change while a run goes on (`Annotated[Count, LIVE]`): rows do not depend on it, and its one reader
asks for it anew each time. All others want a restart."""


def is_live(field: FieldInfo) -> bool:
    """Whether the knob may change while a run goes on."""
    return isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("live") is True


class Section(BaseModel):
    """A part of the tree: unknown keys refused, immutable, numbers finite, the docstring under each field documents it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_from_a_truth(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic would take true for 1.
        name = info.field_name
        if isinstance(value, bool) and name is not None and cls.model_fields[name].annotation in (int, float):
            raise ValueError("expected a number (YAML reads yes, no, on and off as true and false)")
        return value
