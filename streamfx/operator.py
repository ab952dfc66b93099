"""What an operator is: the four roles in a pipeline, and what the engine lends.

A pipeline is a list of operator names: one `FaceOperator`, one `WindowOperator`, any number of `ScoreOperator`s, and
a `RedactOperator` last. A package joins by an entry point in the group `streamfx.operators` whose name is the
operator's name; that name is also its section in the configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar

from streamfx.columns import Column
from streamfx.config.findings import Finding
from streamfx.config.section import Section
from streamfx.config.tree import Config as Tree
from streamfx.privacy.pictures import Pictures
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import Segment, Snapshot, TrackedFrame, Window
from streamfx.serving.contract import FAITHFUL, ModelClient, SoundInput


class OperatorConfig(Section):
    """Base of an operator's section of the configuration: unknown keys are refused, values do not change."""


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What the engine lends an operator: models by name, pseudonyms, masked pictures, and the threads it may use.

    `sound` is what the pipeline's models hear: windows are to hold the filter bank of that.
    """

    open_model: Callable[[str], ModelClient]
    pseudonyms: Pseudonyms
    pictures: Pictures
    threads: int
    sample_period_us: int
    sound: SoundInput = FAITHFUL


class Operator(ABC):
    """Base of all operators. One instance serves one partition, so its state needs no locks."""

    name: ClassVar[str]
    Config: ClassVar[type[OperatorConfig]]

    def __init__(self, config: Any, context: OperatorContext):
        self.config = config
        self.context = context

    @classmethod
    def look(cls, section: Any, config: Tree) -> Iterable[Finding]:
        """What of this operator's `section` could not work in `config`, or is not on this machine; nothing is opened for
        long or asked over the network. `streamfx config check` says it, and a run refuses it at its start."""
        return ()

    @classmethod
    def models(cls, section: Any) -> Mapping[str, str]:
        """Key of `section` -> model it names, of those that `context.open_model` will be asked for."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Release what the operator holds. Called once; nothing is called after it."""


class FaceOperator(Operator):
    """Finds faces in sampled frames and follows them. State is by raw stream id and survives a restart by snapshot."""

    @abstractmethod
    def track(self, stream_id: str, offset: int, segment: Segment) -> list[TrackedFrame]:
        """The segment's sampled frames with their faces, in time order. Frames not later than what was seen are dropped."""

    @abstractmethod
    def end_stream(self, stream_id: str) -> None:
        """Forget the stream: its tracks end here."""

    @abstractmethod
    def snapshot(self, stream_id: str) -> Snapshot | None:
        """The stream's decisions so far as JSON values; None where there is no state."""

    @abstractmethod
    def restore(self, stream_id: str, snapshot: Snapshot) -> None:
        """Continue from a snapshot as if nothing had happened."""


class WindowOperator(Operator):
    """Gathers tracked faces and sound into windows of event time. State is by raw stream id."""

    @abstractmethod
    def add(self, stream_id: str, offset: int, segment: Segment, tracked: Sequence[TrackedFrame]) -> list[Window]:
        """Take one chunk's worth; return the windows that its event time closes, ordered by start, then birth."""

    @abstractmethod
    def end_stream(self, stream_id: str, closed_by: int) -> list[Window]:
        """The stream is over: return its open windows that have enough faces, and forget it."""

    @abstractmethod
    def snapshot(self, stream_id: str) -> Snapshot | None:
        """Open windows as (offset, frame, box), and which offsets hold their sound; None where there is no state."""

    @abstractmethod
    def offsets_needed(self, snapshot: Snapshot) -> list[int]:
        """The chunk offsets, ascending, that must be read again before `restore`."""

    @abstractmethod
    def restore(self, stream_id: str, snapshot: Snapshot, segments: Mapping[int, Segment | None]) -> int:
        """Continue from a snapshot, cutting again by the stored boxes from `segments` (offset -> decoded chunk, None
        where it is gone). Returns how many open windows are lost because a chunk they need is gone."""


class ScoreOperator(Operator):
    """Turns a window into values for the columns it declares."""

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns it fills; fixed for the life of the instance."""

    @property
    def sound(self) -> SoundInput | None:
        """What its model hears of the sound; None where it asks for nothing in particular. Fixed, as the columns are."""
        return None

    def score(self, window: Window) -> Mapping[str, Any]:
        """Column values for one window; a column left out is null. Override this or, to overlap work, `submit`."""
        raise TypeError(f"{type(self).__name__} must override score() or submit()")

    def submit(self, window: Window) -> Future[Mapping[str, Any]]:
        """Like `score`, but may return before the answer is there. May block while too much is in flight."""
        done: Future[Mapping[str, Any]] = Future()
        try:
            done.set_result(self.score(window))
        except Exception as error:
            done.set_exception(error)
        return done

    def flush(self) -> None:
        """No window follows for now: send what is waiting to fill a batch."""

    def provenance(self) -> Mapping[str, str]:
        """`{"model": ..., "model_version": ...}` of the model behind the columns; empty where there is none.

        Fixed, as the columns are. The engine writes the version into each row, as `<operator>_model_version`, and both into
        each file's footer. The version is a token of at most 64 letters, digits, `.`, `_`, `+` and `-`.
        """
        return {}


class RedactOperator(Operator):
    """The stage without which no pipeline starts. It may export pictures, and only through `context.pictures`."""

    @abstractmethod
    def observe(self, stream_id: str, tracked: Sequence[TrackedFrame]) -> None:
        """See one chunk's tracked frames; may export masked pictures. Must not raise for a picture's sake."""

    @abstractmethod
    def end_stream(self, stream_id: str) -> None:
        """Forget the stream."""
