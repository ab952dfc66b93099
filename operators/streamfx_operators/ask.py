"""Ask: questions of the configuration about each face, at a rate of their own, answered from given answers alone."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from streamfx.columns import Column
from streamfx.config.findings import Finding, missing, wrong
from streamfx.config.section import Section
from streamfx.config.tree import Config as Tree
from streamfx.errors import MissingComponent, ModelError, PrivacyRefusal
from streamfx.models.ask import ASKED, SCORES, VOCABULARY, AskModel, words_file
from streamfx.models.contract import Answer, Tensors
from streamfx.models.prompt import YES_NO, Prompt, chosen
from streamfx.operator import ModelConfig, ModelOperator, OperatorContext
from streamfx.privacy.questions import check_question, sensitive_kind
from streamfx.records import MICROSECONDS, Window
from streamfx.serving.words import ASK_PACKAGES, FileWords

log = logging.getLogger(__name__)

MOST_QUESTIONS = 16
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ANSWERED, _OVER_BUDGET = "answered", "over_budget"
_OUTCOME = Column(
    "ask_outcome",
    "category",
    "Whether the questions were asked of this window (`answered`), or left out because `ask.most_per_s` was reached "
    "(`over_budget`); null where it was not the track's turn.",
    values=(_ANSWERED, _OVER_BUDGET),
)


class Question(Section):
    """One question, in English, about what can be seen of a face (docs/ask.md)."""

    question: Annotated[str, Field(min_length=1)]
    """What is asked, such as `Does this person wear glasses?`."""
    answers: Annotated[list[str], Field(min_length=2)] = list(YES_NO)  # noqa: RUF012
    """The answers to choose from; put yes and no in quotes, since YAML reads them as true and false."""

    @model_validator(mode="after")
    def _may_be_asked(self) -> Self:
        if len(set(self.answers)) < len(self.answers):
            raise ValueError("answers: expected different ones")
        try:
            check_question(self.question, self.answers)
            kind = sensitive_kind(self.question, self.answers)
        except PrivacyRefusal as error:
            raise ValueError(str(error)) from error
        if kind and set(self.answers) != set(YES_NO):
            raise ValueError(
                f"a question about {kind} is sensitive, and is answered yes or no; leave its `answers` out, and ask "
                "whether one of them is right"
            )
        return self


class AskConfig(ModelConfig):
    """Which questions are asked, of which model, and how often."""

    model: Annotated[str, Field(min_length=1)] = AskModel.spec.default_weights
    """Model directory, or the name of one that comes with streamfx. Behind Triton the server must serve the same."""
    questions: dict[str, Question] = {}  # noqa: RUF012
    """The questions by name; NAME makes the columns `ask_NAME` and `ask_NAME_probability`. At least one, at most 16."""
    every_s: Annotated[float, Field(ge=0.05, le=86_400)] = 2.0
    """Seconds of event time from one asking of a track to the next, a multiple of `windows.hop_s`: the windows that start at
    a multiple of it are asked about."""
    most_per_s: Annotated[float, Field(gt=0)] = 50.0
    """Most questions for a second of a stream's time, all tracks together. Of tracks that exceed it the older ones are asked,
    and the rows of the others say so in `ask_outcome`."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not 1 <= len(self.questions) <= MOST_QUESTIONS:
            raise ValueError(f"questions: expected 1 to {MOST_QUESTIONS}, got {len(self.questions)}")
        for name in self.questions:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"questions: expected names of lower-case letters, digits and _, at most 40, got {name!r}"
                )
        names = [column.name for column in _columns(self, "the model")]
        if len(set(names)) < len(names):
            raise ValueError(
                f"questions: two would fill one column; expected other names, got {', '.join(self.questions)}"
            )
        if self.tracks_a_turn < 1:
            raise ValueError(
                f"most_per_s: {self.most_per_s:g} questions a second allow {self.most_per_s * self.every_s:g} each time, and "
                f"one face is asked {len(self.questions)}; raise it, ask fewer, or ask less often"
            )
        return self

    @property
    def every_us(self) -> int:
        """`every_s` in microseconds."""
        return round(self.every_s * MICROSECONDS)

    @property
    def tracks_a_turn(self) -> int:
        """Tracks of a stream that may be asked each time."""
        return int(self.most_per_s * self.every_s / max(len(self.questions), 1) + 1e-9)


class Ask(ModelOperator):
    """The likeliest of each question's answers, and its probability; of a sensitive question only whether it is yes.

    Which windows are asked about follows from event time and the tracks alone, so that it is the same however a stream is
    cut, and after a restart. All questions go in one request, whose picture is the frame nearest to the window's middle.
    """

    name = "ask"
    Config = AskConfig
    model = AskModel
    config: AskConfig

    def __init__(self, config: AskConfig, context: OperatorContext):
        super().__init__(config, context)
        try:
            words = FileWords(words_file(self.info, config.model), self.info.facts[VOCABULARY])
        except (ModelError, MissingComponent) as error:
            self.close()
            raise type(error)(f"ask.model: {error}") from error
        self._questions = [(one.question, tuple(one.answers)) for one in config.questions.values()]
        self._asked = Prompt(words, self.info.facts["tokens"]).request(self._questions)
        self._asked.flags.writeable = False  # all requests share it
        self._columns = _columns(config, self.info.name)
        self._sensitive = {column.name for column in self._columns if column.sensitive}
        self._turn: tuple[str, int] = ("", -1)
        """Stream and start of the windows that are asked about now; they come one after another."""
        self._tracks = 0
        self._left_out = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """`ask_outcome`, and for each question its answer and probability."""
        return self._columns

    @classmethod
    def sensitive_columns(cls, section: Any) -> Sequence[Column]:
        """Those of sensitive questions."""
        return [column for column in _columns(section, "the model") if column.sensitive]

    @classmethod
    def look(cls, section: Any, config: Tree) -> Iterator[Finding]:
        """Also whether the package that reads words is here, and whether windows start when they are to be asked about."""
        yield from super().look(section, config)
        if importlib.util.find_spec("tokenizers") is None:
            yield missing("ask.model", f"questions need {ASK_PACKAGES}")
        hop_us = getattr(config.operators.get("windows"), "hop_us", None)
        if hop_us and section.every_us % hop_us:
            yield wrong(
                "ask.every_s",
                f"expected a multiple of windows.hop_s, {hop_us / MICROSECONDS:g}, got {section.every_s:g}: windows start "
                "at multiples of that, and those that start at a multiple of every_s are asked about",
            )

    def submit(self, window: Window) -> Future[Mapping[str, Any]]:
        """Ask, where it is the track's turn and the budget allows it."""
        outcome = self._outcome(window)
        if outcome == _ANSWERED:
            return super().submit(window)
        done: Future[Mapping[str, Any]] = Future()
        done.set_result({} if outcome is None else {_OUTCOME.name: outcome})
        return done

    def _outcome(self, window: Window) -> str | None:
        if window.start_us % self.config.every_us:
            return None
        turn = (window.stream_id, window.start_us)
        self._tracks = self._tracks + 1 if turn == self._turn else 1
        self._turn = turn
        if self._tracks <= self.config.tracks_a_turn:
            return _ANSWERED
        self._left_out += 1
        if self._left_out & (self._left_out - 1) == 0:  # said for 1, 2, 4, 8, ...
            log.warning(
                "ask.most_per_s = %g is reached: %d times so far a face was not asked about", self.config.most_per_s,
                self._left_out,
            )  # fmt: skip
        return _OVER_BUDGET

    def inputs(self, window: Window) -> Tensors:
        """The face, and all questions."""
        return {**super().inputs(window), ASKED: self._asked}

    def values(self, answer: Answer, present: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        """The answers that `chosen` takes."""
        values: dict[str, Any] = {_OUTCOME.name: _ANSWERED}
        for name, (said, probability) in zip(
            self.config.questions, chosen(answer[SCORES], self._questions), strict=True
        ):
            if f"ask_{name}" in self._sensitive:
                values[f"ask_{name}"] = said == YES_NO[0]
            else:
                values |= {f"ask_{name}": said, f"ask_{name}_probability": probability}
        return values


def _columns(config: AskConfig, model: str) -> tuple[Column, ...]:
    """The columns that a configuration asks for; `model` is named in their descriptions."""
    found = [_OUTCOME]
    for name, one in config.questions.items():
        kind = sensitive_kind(one.question, one.answers)
        about = f"Answer by {model} to: {one.question} Null where it was not asked."
        if kind:
            found.append(Column(f"ask_{name}", "bool", about, sensitive=kind))
            continue
        found.append(Column(f"ask_{name}", "category", about, values=tuple(one.answers)))
        how = f"Its probability (0..1) among the answers {', '.join(one.answers)}, as if all were as common."
        found.append(Column(f"ask_{name}_probability", "float", how, unit="probability", low=0, high=1))
    return tuple(found)
