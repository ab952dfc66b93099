"""A model without weights, in the place of one that is served."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from streamfx.errors import ModelError
from streamfx.models.base import ServedModel
from streamfx.models.contract import FAITHFUL, Answer, ModelInfo, SoundInput, Tensors
from streamfx.models.expression import ExpressionModel

LABELS = ("happiness", "neutral")


class FakeModel:
    """A `ModelClient` without weights. Its answers depend on its inputs only, and it checks inputs as a real client
    does.

    `answer` decides what it answers: the name of a label, whose output is the largest; a function from the inputs to
    the outputs, either by name or, of the model's first output, as a list; an error with which every request fails
    (`ServingUnavailable`, `ModelError`); or None for numbers that are equal for equal inputs and differ for others.
    Inputs and outputs that break the contract of `model` give a ModelError.

    With `late`, requests wait until `flush`, which answers the last one first.
    """

    def __init__(
        self,
        answer: str | Callable[[Tensors], Sequence[float] | Answer] | Exception | None = None,
        *,
        labels: Sequence[str] = LABELS,
        name: str = "fake",
        version: str = "1",
        image_size: int | None = 112,
        sound: SoundInput | None = FAITHFUL,
        model: type[ServedModel] = ExpressionModel,
        late: bool = False,
    ):
        if isinstance(answer, str) and answer not in labels:
            raise ValueError(f"expected one of the labels {', '.join(labels)}, got {answer!r}")
        self.info = ModelInfo(name, version, tuple(labels), image_size, True, sound)
        self.asked = 0
        """How many requests came, those that were refused included."""
        self.closed = False
        """Whether the model was given back. Requests that come later fail."""
        self._answer, self._spec, self._late = answer, model.spec_of(self.info), late
        self._waiting: list[tuple[Future[Answer], Tensors]] = []
        self._lock = threading.Lock()

    def submit(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item; the future holds the outputs by name."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self.asked += 1
            if self._late:
                self._waiting.append((future, inputs))
                return future
        self._settle(future, inputs)
        return future

    def flush(self) -> None:
        """Answer what waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for future, inputs in reversed(waiting):
            self._settle(future, inputs)

    def close(self) -> None:
        """Take the model back; what still waits fails."""
        self.closed = True
        self.flush()

    def _settle(self, future: Future[Answer], inputs: Tensors) -> None:
        try:
            if self.closed:
                raise ModelError("the model client is closed; open another one")
            self._spec.check_inputs(inputs)
            outputs = self._outputs(inputs)
            self._spec.check_outputs(outputs)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(outputs)

    def _outputs(self, inputs: Tensors) -> Answer:
        answer, first = self._answer, self._spec.outputs[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return {first.name: np.array([4 * (label == answer) for label in self.info.labels], np.float32)}
        if answer is not None:
            given = answer(inputs)
            return given if isinstance(given, Mapping) else {first.name: np.array(given, np.float32)}
        seed = 0
        for name in sorted(inputs):
            seed = zlib.crc32(np.ascontiguousarray(inputs[name]).tobytes(), seed)
        random = np.random.default_rng(seed)
        return {one.name: random.standard_normal(one.dims).astype(np.float32) for one in self._spec.outputs}
