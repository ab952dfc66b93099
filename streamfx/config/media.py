"""The configuration's section `media`: decoding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamfx.config.section import Count, Seconds, Section


class Media(Section):
    """Decoding."""

    backend: Literal["auto", "pyav", "decord", "gpu"] = "auto"
    """`auto` takes the GPU where there is one with a decoder, else PyAV."""
    sample_fps: Annotated[float, Field(ge=0.1, le=60)] = 8.0
    """Frames per second of event time that are converted and looked at."""
    threads: Annotated[int, Field(ge=0, le=64)] = 1
    """Decoder threads for each chunk; 0 leaves the number to the decoder."""
    max_pixels: Count = 4096 * 2160
    """Largest frame, in pixels, in landscape or portrait; a chunk with a larger one is undecodable."""
    max_chunk_s: Seconds = 120.0
    """Longest chunk, seconds of media; a longer one is undecodable."""
    video_track: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """`auto` takes the video track that is marked default, else the one with the largest picture; a number takes that
    one, from 0, where a file or chunk has several."""
    sound_track: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Which of several sound tracks is heard: its number, counted from 0 among the sound tracks, or `auto`, which takes
    the first that is not silent, looking at those marked default first and at commentary last."""

    @property
    def sample_period_us(self) -> int:
        """Microseconds between points of the sampling grid."""
        return round(1_000_000 / self.sample_fps)
