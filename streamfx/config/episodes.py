"""The configuration's section `episodes`: by which rule `streamfx episodes` makes stretches of the windows' scores."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamfx.config.section import Section


class Episodes(Section):
    """How scores of windows become episodes. A running line does not read this section."""

    smoother: Literal["hysteresis", "hmm"] = "hysteresis"
    """`hysteresis`: by the two thresholds and the least length below. `hmm`: the likeliest path through a hidden Markov
    model whose transition is fixed."""
    enter: Annotated[float, Field(gt=0.5, le=1)] = 0.6
    """Hysteresis: an expression begins where its probability is at least this; above 0.5, so that only one does."""
    leave: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Hysteresis: it ends where its probability falls below this, or another one begins."""
    least_s: Annotated[float, Field(ge=0, le=60)] = 1.5
    """Hysteresis: an episode that is shorter, seconds, does not count, nor does a shorter break between two that are alike;
    unless its start or end was not seen."""

    @model_validator(mode="after")
    def _two_thresholds(self) -> Self:
        if self.leave > self.enter:
            raise ValueError(f"leave: expected at most enter, {self.enter:g}, got {self.leave:g}")
        return self

    @property
    def rule(self) -> str:
        """The rule as one word, for each row: `hmm`, or `hysteresis-<enter>-<leave>-<least_s>`."""
        if self.smoother == "hmm":
            return self.smoother
        return "-".join([self.smoother, *(f"{number:g}" for number in (self.enter, self.leave, self.least_s))])
