"""What every section of the configuration is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LIVE = Field(json_schema_extra={"live": True})
"""Marks a knob that may change while a run goes on (`Annotated[Count, LIVE]`): rows do not depend on it, and its one reader
asks for it anew each time. All others want a restart."""


def is_live(field: FieldInfo) -> bool:
    """Whether the knob may change while a run goes on."""
    return isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("live") is True


class Section(BaseModel):
    """A part of the tree: unknown keys refused, immutable, the docstring under each field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
