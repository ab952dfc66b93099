"""Types of values that the commands' options take, and the option that several of them have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A duration such as `10s`, `500ms` or `2m`; a bare number is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = _DURATION.fullmatch(str(value).strip())
        if not found:
            self.fail(f"{value!r} is not a duration such as 10s, 500ms or 2m", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "s"]


class Time(click.ParamType[int]):
    """A UTC time (ISO 8601)."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Microseconds since 1970."""
        from streamfx.records import utc_us

        try:
            return utc_us(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-22T10:00:00Z", param, ctx)


class FiniteRange(click.FloatRange):
    """A range of finite numbers: `nan` compares as inside every bound, and `inf` may be inside one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def set_option(of: str = "the configuration", example: str = "") -> Callable[[_Command], _Command]:
    """The option `--set A.B=VALUE`, which fills the parameter `overrides`; `of` says what a value is overridden of."""
    help_text = f"Override a value of {of}{f', e.g. {example}' if example else ''}."
    return click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help=help_text)
