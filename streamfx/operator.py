"""What an operator is: the four roles in a pipeline, and what the engine lends. `ModelOperator` asks a served model.

A pipeline is a list of operator names: one `FaceOperator`, one `WindowOperator`, any number of `ScoreOperator`s, and
a `RedactOperator` last. A package joins by an entry point in the group `streamfx.operators` whose name is the
operator's name; that name is also its section in the configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from streamfx.columns import MAX_COLUMNS, Column
from streamfx.config.findings import Finding, look_at_file, missing, wrong
from streamfx.config.section import Section
from streamfx.config.tree import Config as Tree
from streamfx.errors import MissingComponent, ModelError, PrivacyRefusal, did_you_mean
from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard, find_directory, names_on, usable_directory
from streamfx.models.contract import FAITHFUL, Answer, ModelInfo, SoundInput, Tensors
from streamfx.privacy.pictures import Pictures
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import Segment, Snapshot, TrackedFrame, Window
from streamfx.serving.contract import ModelClient


class OperatorConfig(Section):
    """Base of an operator's section of the configuration: unknown keys are refused, values do not change."""


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What the engine lends an operator: models, pseudonyms, masked pictures, and the threads it may use.

    `open_model` takes a served model and its weights, a directory or the name of one that comes with it. `sound` is
    what the pipeline's score operators hear: windows are to hold the filter bank of that, and None says that nobody
    asks for it. `pictures_leave` says that the redact operator exports pictures.
    """

    open_model: Callable[[type[ServedModel], str], ModelClient]
    pseudonyms: Pseudonyms
    pictures: Pictures
    threads: int
    sample_period_us: int
    sound: SoundInput | None = FAITHFUL
    pictures_leave: bool = False


class Operator(ABC):
    """Base of all operators. One instance serves one partition, so its state needs no locks."""

    name: ClassVar[str]
    Config: ClassVar[type[OperatorConfig]]

    def __init__(self, config: Any, context: OperatorContext):
        self.config = config
        self.context = context

    @classmethod
    def look(cls, section: Any, config: Tree) -> Iterable[Finding]:
        """Findings about this operator's `section`: what could not work in `config`, and what is not on this machine.
        No server is asked. `streamfx config check` prints them, and a run refuses to start with them."""
        return ()

    @classmethod
    def models(cls, section: Any) -> Mapping[str, tuple[type[ServedModel], str]]:
        """Key of `section` -> what `context.open_model` will be asked for: a served model, and the weights that it
        names."""
        return {}

    def provenance(self) -> Mapping[str, str]:
        """`{"model": ..., "model_version": ...}` of the model that decides what this operator gives, such as the values of
        its columns or which faces there are; empty where there is none.

        Fixed for the life of the instance. The engine writes the version into each row, as `<operator>_model_version`,
        and both into each file's footer. The version is a token of at most 64 letters, digits, `.`, `_`, `+` and `-`.
        """
        return {}

    def close(self) -> None:  # noqa: B027
        """Release what the operator holds. Called once; nothing is called after it."""


class FaceOperator(Operator):
    """Finds faces in sampled frames and follows them. State is by raw stream id and survives a restart by snapshot."""

    @abstractmethod
    def track(self, stream_id: str, offset: int, segment: Segment) -> list[TrackedFrame]:
        """The segment's sampled frames with their faces, in time order. Frames not later than what was seen are
        dropped."""

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

    @classmethod
    def sensitive_columns(cls, section: Any) -> Sequence[Column]:
        """Those of its columns that tell sex, age, skin or origin, or judge beauty, for this `section`; none by default.

        They can be asked for without a model, so that a configuration's check sees what all operators of the pipeline
        would write together. An instance with other ones is refused.
        """
        return ()

    @property
    def sound(self) -> SoundInput | None:
        """What it hears of the sound. Fixed, as the columns are, and one thing for all operators of a pipeline.

        None, the default, says that it does not read `window.fbank`. Where no operator hears, the filter bank is not
        computed, and all windows hold the constant of a window without sound. So an operator that reads it must say
        what it hears, such as `SoundInput(16_000, "mix")`. For a `ModelOperator` the model says it.
        `window.audio_present` is there in any case.
        """
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


class ModelConfig(OperatorConfig):
    """Base of a `ModelOperator`'s section. A subclass gives `model` a default and a docstring of its own."""

    model: Annotated[str, Field(min_length=1)]
    """Model directory, or the name of one that comes with the model."""


class ModelOperator(ScoreOperator):
    """A score operator that asks one served model for each window.

    A subclass has a `name`, a `Config` (a ModelConfig), the `model` that it asks, `columns`, and `values`, which turns
    the model's answer into them. `info` says which weights answer, and names their labels.
    """

    model: ClassVar[type[ServedModel]]

    def __init__(self, config: Any, context: OperatorContext):
        super().__init__(config, context)
        try:
            self._client = context.open_model(self.model, config.model)
        except (ModelError, MissingComponent) as error:
            raise type(error)(f"{self.name}.model: {error}") from error

    @abstractmethod
    def values(self, answer: Answer, present: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        """Column values from the model's outputs for one window; a column left out is null.

        `present` bool [16]: segments in which the face was seen; in the others its frame is repeated from another.
        """

    @property
    def info(self) -> ModelInfo:
        """Which weights answer; the same for the life of the instance."""
        return self._client.info

    @property
    def sound(self) -> SoundInput | None:
        """What the model says that it hears."""
        return self.info.sound

    @classmethod
    def models(cls, section: Any) -> Mapping[str, tuple[type[ServedModel], str]]:
        """The one, under `model`."""
        return {"model": (cls.model, section.model)}

    @classmethod
    def look(cls, section: Any, config: Tree) -> Iterator[Finding]:
        """Whether the model is here, by its card and the name of its weights; nothing is loaded."""
        path, behind_triton = f"{cls.name}.model", config.serving.backend == "triton"
        try:
            directory = find_directory(section.model, cls.model.shelf, cls.model.architecture)
        except ModelError as error:
            near = did_you_mean(section.model, names_on(cls.model.shelf, cls.model.architecture))
            if behind_triton:
                yield Finding("warning", path, f"{error}{near}; what Triton serves is taken as it is")
            elif Path(section.model).name == section.model:
                yield wrong(path, f"{error}{near}")
            else:
                yield missing(path, error)
            return
        try:
            if not behind_triton:
                directory, said = usable_directory(directory, cls.model.shelf)
                yield from (Finding("warning", path, sentence) for sentence in said)
            card = cls.model.read_card(directory)
        except MissingComponent as error:
            yield missing(path, error)
            return
        except ModelError as error:
            yield wrong(path, error)
            return
        if card.weights is not None and not behind_triton:
            yield from look_at_file(path, directory / card.weights, "the model's weights")
        if not card.trained:
            yield Finding("warning", path, f"{card.name} is untrained: its scores mean nothing")
        if not behind_triton:
            yield from cls.look_at_card(section, card)

    @classmethod
    def look_at_card(cls, section: Any, card: ModelCard) -> Iterable[Finding]:
        """What whoever configures this operator must know of the model that is here; nothing by default."""
        return ()

    def inputs(self, window: Window) -> Tensors:
        """What the model is asked about a window; what a window does not hold, a subclass adds."""
        return self.model.inputs(window, self.info)

    def submit(self, window: Window) -> Future[Mapping[str, Any]]:
        """Ask the model; the future holds the column values, or a ModelError that names this operator and its model."""
        scored: Future[Mapping[str, Any]] = Future()
        scored.set_running_or_notify_cancel()
        present = window.present  # and not the window: its frames may go as soon as they are sent

        def pass_on(answer: Future[Answer]) -> None:
            try:
                scored.set_result(self.values(answer.result(), present))
            except BaseException as error:
                scored.set_exception(self._named(error))

        try:
            asked = self._client.submit(self.inputs(window))
        except Exception as error:
            scored.set_exception(self._named(error))
        else:
            asked.add_done_callback(pass_on)
        return scored

    def _named(self, error: BaseException) -> BaseException:
        """The error, with this operator and its model in its message; in a note where it is none of ours."""
        who = f"{self.name}, model {self.info.name}"
        if not isinstance(error, ModelError):
            error.add_note(who)
            return error
        named = type(error)(f"{who}: {error}")
        named.__cause__ = error
        return named

    def flush(self) -> None:
        """Hold nothing back."""
        self._client.flush()

    def close(self) -> None:
        """Give the model back."""
        self._client.close()

    def provenance(self) -> Mapping[str, str]:
        """Name and version of the weights that answer."""
        return {"model": self.info.name, "model_version": self.info.version}


class RedactOperator(Operator):
    """The stage without which no pipeline starts. It may export pictures, and only through `context.pictures`."""

    pictures = False
    """Whether it exports pictures of frames, in which all places that may show a face must be known."""
    films = False
    """Whether the engine is to make a redacted film of each chunk."""
    also: Sequence[str] = ()
    """Names of the detectors that fill more than faces in these films."""
    drawn_faces = False
    """Whether drawn faces are painted inside the fills of these films."""

    @abstractmethod
    def observe(self, stream_id: str, tracked: Sequence[TrackedFrame]) -> None:
        """See one chunk's tracked frames; may export masked pictures. Must not raise for a picture's sake."""

    @abstractmethod
    def end_stream(self, stream_id: str) -> None:
        """Forget the stream."""


def columns_of(operator: Operator) -> Sequence[Column]:
    """The columns that an operator declares; none but those of a `ScoreOperator`. PrivacyRefusal for too many of them, and
    for a sensitive one that `sensitive_columns` does not tell of."""
    if not isinstance(operator, ScoreOperator):
        return ()
    columns = operator.columns
    if len(columns) > MAX_COLUMNS:
        raise PrivacyRefusal(
            f"operator {operator.name} declares {len(columns)} columns; at most {MAX_COLUMNS} are allowed"
        )
    told = {column.name for column in operator.sensitive_columns(operator.config)}
    untold = [column.name for column in columns if column.sensitive and column.name not in told]
    if untold:
        raise PrivacyRefusal(
            f"operator {operator.name}: {', '.join(untold)}: sensitive, and not among sensitive_columns(), by which "
            "`streamfx config check` knows what leaves together; expected them there too"
        )
    return columns


def models_of(operators: Mapping[str, Operator]) -> dict[str, Mapping[str, str]]:
    """Operator -> `{"model": ..., "model_version": ...}`, of those that name a model.

    Raises ModelError for one that names only a model or only a version.
    """
    models = {name: operator.provenance() for name, operator in operators.items()}
    for name, model in models.items():
        if model and not (model.get("model") and model.get("model_version")):
            raise ModelError(f"{name}: provenance() names no model or no version; expected `model` and `model_version`")
    return {name: model for name, model in models.items() if model}
