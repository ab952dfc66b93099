"""The knobs that `streamfx tune` may turn: they affect throughput only, never the content of rows.

No knob is part of `config_id`, and every value here is one that the configuration accepts. Where a larger value makes
rows visible later (the rolls of the sink), the shipped default is the largest value tried.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from streamfx.config.messages import section_of
from streamfx.config.tree import Config
from streamfx.errors import ConfigError

Setting = Mapping[str, float]
"""Values by path of the configuration, such as `{"serving.batch_size": 4}`."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One knob: the stage it affects, and the values worth trying; `per_core` adds powers of two up to the cores."""

    path: str
    stage: str
    values: tuple[float, ...] = ()
    per_core: bool = False
    in_process_only: bool = False

    def ladder(self, cores: int) -> list[float]:
        """The values to try on a machine with `cores` cores, ascending."""
        powers = {float(2**n) for n in range(cores.bit_length()) if 2**n <= cores} | {float(cores)}
        return sorted({*self.values, *(powers if self.per_core else ())})


KNOBS = (
    Knob("source.queue_chunks", "source", (2, 8, 32)),
    Knob("media.threads", "decode", per_core=True),
    Knob("serving.threads", "inference", (0,), per_core=True, in_process_only=True),
    Knob("serving.batch_size", "inference", (1, 4, 16, 64), in_process_only=True),
    Knob("serving.in_flight", "inference", (4, 16, 64)),
    Knob("sink.roll_chunks", "write", (16, 64)),
    Knob("sink.roll_bytes", "write", (256 * 1024 * 1024,)),
    Knob("sink.roll_event_s", "write", (300,)),
)


def knobs_for(config: Config) -> list[Knob]:
    """The knobs that have an effect in this configuration; with Triton, the server decides batches and threads."""
    in_process = config.serving.backend == "in_process"
    return [knob for knob in KNOBS if in_process or not knob.in_process_only]


def setting_of(config: Config) -> dict[str, float]:
    """The value of each knob in a configuration."""
    return {knob.path: _value_at(config, knob.path) for knob in knobs_for(config)}


def defaults_for(config: Config) -> dict[str, float]:
    """The shipped default of each knob."""
    return {knob.path: _default_at(knob.path) for knob in knobs_for(config)}


def with_setting(tree: Mapping[str, Any], before: Setting, setting: Setting) -> dict[str, Any]:
    """The raw tree of a configuration with the knobs set that differ from `before`; nothing else is changed.

    Raises ConfigError for a path that is not a knob.
    """
    changed = copy.deepcopy(dict(tree))
    known = {knob.path for knob in KNOBS}
    for path, value in setting.items():
        if path not in known:
            raise ConfigError(f"{path}: not a throughput knob; expected one of {', '.join(sorted(known))}")
        if before.get(path) != value:
            section, _, name = path.partition(".")
            changed[section] = {**(changed.get(section) or {}), name: int(value) if value == int(value) else value}
    return changed


def _value_at(config: Config, path: str) -> float:
    section, _, name = path.partition(".")
    return float(getattr(getattr(config, section), name))


def _default_at(path: str) -> float:
    section, _, name = path.partition(".")
    below: type[BaseModel] | None = section_of(Config.model_fields[section].annotation)
    assert below is not None
    return float(below.model_fields[name].default)
