"""The configuration's section `aggregate`: what `streamfx aggregate` publishes, from how many tracks, with what noise."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamfx.config.section import Count, Section

DAY_S = 86_400
Measure = Literal["expression", "action_units"]


class Laplace(Section):
    """Laplace noise: each release is epsilon-differentially private for each track of a salt period."""

    epsilon: Annotated[float, Field(gt=0, le=100)]
    """Epsilon that one release spends of every salt period that it touches."""
    budget: Annotated[float, Field(gt=0, le=1000)]
    """Epsilon that all releases together may spend of one salt period. The first release fixes it for the dataset."""


class Gaussian(Section):
    """Gaussian noise: each release is rho-zero-concentrated differentially private for each track of a salt period."""

    rho: Annotated[float, Field(gt=0, le=100)]
    """Rho that one release spends of every salt period that it touches."""
    budget: Annotated[float, Field(gt=0, le=1000)]
    """Rho that all releases together may spend of one salt period. The first release fixes it for the dataset."""
    delta: Annotated[float, Field(gt=0, lt=0.1)] = 1e-6
    """Delta for which the command also says the spent rho as (epsilon, delta)."""


class Noise(Section):
    """Noise of one kind, by OpenDP (`pip install 'streamfx[dp]'`), and how much one track may count."""

    laplace: Laplace | None = None
    """Laplace noise; give this or `gaussian`."""
    gaussian: Gaussian | None = None
    """Gaussian noise; give this or `laplace`."""
    track_cells: Count = 8
    """Cells that one track counts in within one release: those in which it was seen longest. More make more noise."""
    track_seconds: Annotated[float, Field(gt=0, le=DAY_S)] = 60.0
    """Face-seconds that one track adds to one cell at most. More make more noise."""
    below_k: Annotated[float, Field(gt=0, le=0.1)] = 0.001
    """Probability with which the noise may show a cell that has fewer than `k` tracks."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.laplace is None) == (self.gaussian is None):
            raise ValueError("expected one kind of noise: give laplace or gaussian, and not both")
        kind = self.kind
        if self.charge > self.budget:
            unit = "epsilon" if kind == "laplace" else "rho"
            raise ValueError(
                f"{kind}.{unit} {self.charge} is more than {kind}.budget {self.budget}: nothing could be released"
            )
        return self

    @property
    def kind(self) -> Literal["laplace", "gaussian"]:
        """Which noise it is."""
        return "laplace" if self.laplace else "gaussian"

    @property
    def charge(self) -> Decimal:
        """What one release spends of each salt period that it touches: epsilon or rho."""
        return Decimal(str(self.laplace.epsilon if self.laplace else self._gauss.rho))

    @property
    def budget(self) -> Decimal:
        """What may be spent of one salt period in all: epsilon or rho."""
        return Decimal(str(self.laplace.budget if self.laplace else self._gauss.budget))

    @property
    def _gauss(self) -> Gaussian:
        assert self.gaussian is not None
        return self.gaussian


class Aggregate(Section):
    """What `streamfx aggregate` publishes of the table `windows`. A running line does not read this section."""

    every_s: Annotated[int, Field(ge=1, le=DAY_S)] = 3600
    """Length of a time bin, seconds; a day, and a salt period, must be whole numbers of bins."""
    k: Annotated[int, Field(ge=2)] = 10
    """Distinct tracks that a published number needs at least, and its complement too."""
    measures: Annotated[list[Measure], Field(min_length=1)] = ["expression", "action_units"]  # noqa: RUF012
    """What is counted beside all faces; what the dataset does not have is left out."""
    groups_file: Path | None = None
    """CSV file that puts streams into groups: `stream,group` with raw ids, or `stream_id,group` with pseudonyms. Streams
    that it does not name are in the group `other`. Default: no groups."""
    delay_s: Annotated[float, Field(ge=0, le=1e9)] = 3600.0
    """Seconds after a bin's end, by the clock, before it is published; rows that are committed later never count."""
    noise: Noise | None = None
    """Noise for differential privacy; default: none, exact numbers."""

    @model_validator(mode="after")
    def _bins_fill_days(self) -> Self:
        if DAY_S % self.every_s:
            raise ValueError(f"every_s: expected a number of seconds that divides a day (86400), got {self.every_s}")
        return self
