"""Redact: the stage without which no pipeline starts; it can export masked preview pictures.

Rows are made by the engine alone, and no operator can bypass it. This stage adds the choice of pictures to show, and
each of them is exported only through `context.pictures`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamfx.config.findings import Finding, look_at_folder
from streamfx.config.section import Word
from streamfx.config.tree import Config as Tree
from streamfx.detection.also import check_also
from streamfx.errors import ConfigError
from streamfx.operator import OperatorConfig, OperatorContext, RedactOperator
from streamfx.privacy.surrogates import SURROGATE_WEAKNESS
from streamfx.records import TrackedFrame
from streamfx.whole_files import write_whole

log = logging.getLogger(__name__)


class RedactConfig(OperatorConfig):
    """Which masked pictures to export, if any, and whether redacted films are made."""

    films: bool = False
    """Whether a film is made of each chunk, with every frame and every face filled, without sound: MP4 files under
    `media/` of the dataset, which the table `films` names. It takes several times as long as all other stages together."""
    fill: Literal["solid", "surrogate"] = "solid"
    """What takes the place of faces in films. `surrogate` fills them solid and draws inside the fill a face that is nobody's
    and moves as the person's does, by numbers (docs/redact.md); where anything is doubtful the fill stays. Preview pictures
    are filled solid in any case."""
    also: tuple[Word, ...] = ()
    """Detectors of your own, by the names of their entry points, whose boxes are filled in films as faces are: number
    plates, screens. They do not decide about preview pictures."""
    preview_dir: Path | None = None
    """Folder for masked preview pictures (PNG); none are made without it."""
    preview_every_s: Annotated[float, Field(gt=0)] = 1.0
    """Seconds of event time between a stream's preview pictures; only frames that the face detector saw are shown."""

    @model_validator(mode="after")
    def _others_are_installed(self) -> Self:
        if self.also and not self.films:
            raise ValueError("also: these detectors are asked for films alone; set films: true, or remove them")
        if self.fill != "solid" and not self.films:
            raise ValueError("fill: preview pictures are filled solid in any case; set films: true, or remove it")
        try:
            check_also(self.also)
        except ConfigError as error:
            raise ValueError(f"also: {error}") from error
        return self


@dataclass(slots=True)
class _Recent:
    frames: deque[TrackedFrame] = field(default_factory=deque)
    next_picture_us: int = 0


class Redact(RedactOperator):
    """Exports a masked picture of each stream at intervals, of a frame that the detector saw, once those after it are
    known."""

    name = "redact"
    Config = RedactConfig
    config: RedactConfig

    def __init__(self, config: RedactConfig, context: OperatorContext):
        super().__init__(config, context)
        self.pictures, self.films, self.also = config.preview_dir is not None, config.films, config.also
        self.drawn_faces = config.fill == "surrogate"
        self._recent: dict[str, _Recent] = {}

    @classmethod
    def look(cls, section: RedactConfig, config: Tree) -> Iterator[Finding]:
        """Whether pictures can be written, and what drawn faces leave of people, and whether this machine can draw them."""
        yield from look_at_folder(f"{cls.name}.preview_dir", section.preview_dir)
        if section.fill == "surrogate":
            from streamfx.redaction.surrogates import find_drawing

            yield Finding("warning", f"{cls.name}.fill", f"surrogate is weaker than solid: {SURROGATE_WEAKNESS}")
            _, lack = find_drawing()
            if lack is not None:
                yield Finding("warning", f"{cls.name}.fill", f"no face is drawn here, and all fills stay solid: {lack}")

    def observe(self, stream_id: str, tracked: Sequence[TrackedFrame]) -> None:
        """Hold the frames until the mask's hold has passed on both sides, then export those that are due."""
        if self.config.preview_dir is None:
            return
        recent = self._recent.setdefault(stream_id, _Recent())
        hold_us = self.context.pictures.mask_hold_us
        for newest in tracked:
            recent.frames.append(newest)
            now_us = newest.frame.sample_us
            for frame in recent.frames:
                due = recent.next_picture_us <= frame.frame.sample_us <= now_us - hold_us
                if due and frame.detected:
                    self._export(stream_id, frame, [f for f in recent.frames if _near(f, frame, hold_us)])
                    recent.next_picture_us = frame.frame.sample_us + round(self.config.preview_every_s * 1e6)
            while recent.frames[0].frame.sample_us < now_us - 2 * hold_us:
                recent.frames.popleft()

    def end_stream(self, stream_id: str) -> None:
        """Drop the frames whose mask hold was not complete."""
        self._recent.pop(stream_id, None)

    def _export(self, stream_id: str, frame: TrackedFrame, around: Sequence[TrackedFrame]) -> None:
        assert self.config.preview_dir is not None
        pseudonyms, time_us = self.context.pseudonyms, frame.frame.sample_us
        name = f"{pseudonyms.stream_pseudonym(stream_id, pseudonyms.salt_period(time_us))}-{time_us}.png"
        try:
            write_whole(self.config.preview_dir / name, self.context.pictures.mask(frame, around).png())
        except OSError as error:
            log.warning("a preview picture could not be written: %s", error.strerror or type(error).__name__)


def _near(frame: TrackedFrame, other: TrackedFrame, hold_us: int) -> bool:
    return abs(frame.frame.sample_us - other.frame.sample_us) <= hold_us
