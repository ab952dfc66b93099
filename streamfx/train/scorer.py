"""Runs the product's own operators outside a pipeline, so that an evaluation measures what the line does."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from streamfx.config.privacy import PrivacySection
from streamfx.config.serving import Serving
from streamfx.models.contract import FAITHFUL, ModelInfo, SoundInput
from streamfx.operator import ModelOperator, OperatorContext
from streamfx.pipeline import find_operator
from streamfx.privacy.key import KEY_BYTES_MIN
from streamfx.privacy.pictures import Pictures
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import Window
from streamfx.serving.client import open_model

BATCH = 8
"""Number of windows that the net scores at once."""
PREFIX = "p_"
"""Prefix of the columns that hold a label's probability."""


def offline_context(sample_period_us: int = 125_000, sound: SoundInput | None = FAITHFUL) -> OperatorContext:
    """The context of an operator without a pipeline: models in this process, and a random key that is not kept.

    `sound` is the form of sound from which windows get their filter bank; None: they get none.
    """
    section = PrivacySection(purpose="evaluation of a model", deployment_context="research")
    return OperatorContext(
        open_model=partial(open_model, serving=Serving(batch_size=BATCH, in_flight=4 * BATCH)),
        pseudonyms=Pseudonyms(section.salt_period_s, os.urandom(KEY_BYTES_MIN)),
        pictures=Pictures(section),
        threads=1,
        sample_period_us=sample_period_us,
        sound=sound,
    )


class Scorer:
    """The operator `expression` with one model. Use it in a `with` statement; it holds the model while open.

    `model` is a model directory or the name of a shipped model; None means the operator's default.
    Raises ModelError where there is no such model.
    """

    def __init__(self, model: str | None):
        kind: Any = find_operator("expression")
        config = kind.Config() if model is None else kind.Config(model=model)
        self._operator: ModelOperator = kind(config, offline_context())
        self.info: ModelInfo = self._operator.info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._operator.close()

    def answers(self, windows: Iterable[Window]) -> list[Mapping[str, Any]]:
        """The operator's values for each window, by column; windows are consumed lazily."""
        answers: list[Mapping[str, Any]] = []
        waiting: deque[Future[Mapping[str, Any]]] = deque()
        for window in windows:
            waiting.append(self._operator.submit(window))
            while waiting and waiting[0].done():
                answers.append(waiting.popleft().result())
        self._operator.flush()
        return answers + [one.result() for one in waiting]

    def probabilities(self, windows: Iterable[Window]) -> npt.NDArray[np.float64]:
        """float64 [windows, labels] in the order of `info.labels`; windows are consumed lazily."""
        rows = [[float(values[PREFIX + label]) for label in self.info.labels] for values in self.answers(windows)]
        return np.array(rows, np.float64).reshape(-1, len(self.info.labels))
