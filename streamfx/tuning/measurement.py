"""The result of one run of the line over the sample: its speed, and how the line's thread spent its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STAGES: Mapping[str, tuple[str, ...]] = {
    "decode": ("parse", "decode"),
    "faces": ("faces",),
    "windows": ("windows",),
    "inference": ("submit", "scores"),
    "redaction": ("redact",),
    "write": ("commit",),
}
"""Maps each stage of `tune` to the stages of the metric `streamfx_stage_seconds` on the line's own thread.

`inference` is the time that the line waits for the model; the model's work beside the line costs nothing until then.
"""

WAITS = "source"
"""The stage of the remaining time, in which the line waits for chunks."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run. Times are seconds; `media_s` is the length of media that was processed, `frames` the number of frames
    decoded, `pixels` the pixels of a picture."""

    elapsed_s: float
    media_s: float
    frames: float = 0
    chunks: int = 0
    windows: int = 0
    stage_s: Mapping[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    peak_bytes: int = 0
    dataset_bytes: int = 0
    media_bytes: float = 0.0
    pixels: float = 0.0
    model: str = ""
    net_device: str = "cpu"
    gpu: str | None = None
    net_s_per_window: float | None = None

    @property
    def speed(self) -> float:
        """Seconds of media a second; 0 where the run failed."""
        return self.media_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def shares(self) -> dict[str, float]:
        """Share of the run's time by stage; the shares add up to 1."""
        if self.elapsed_s <= 0:
            return {}
        known = {name: sum(self.stage_s.get(stage, 0.0) for stage in stages) for name, stages in STAGES.items()}
        whole = max(self.elapsed_s, sum(known.values()))
        return {WAITS: (whole - sum(known.values())) / whole, **{name: s / whole for name, s in known.items()}}

    @property
    def binds(self) -> str:
        """The stage with the largest share, that is, the one whose cost it would help most to reduce."""
        shares = self.shares
        return max(shares, key=lambda stage: shares[stage]) if shares else "unknown"


FAILED = Measurement(0.0, 0.0)
"""The result of a setting with which the line could not run."""
