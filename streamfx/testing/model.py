"""A model without weights, in the place of one that is served."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import ModelError
from streamfx.serving.contract import EXPRESSION, FAITHFUL, Answer, ModelInfo, ModelSpec, SoundInput, Tensors

LABELS = ("happiness", "neutral")


class FakeModel:
    """A `ModelClient` that answers at once and always alike, and breaks the contract no more than a served model does.

    `answer` says what comes back: the name of a label, whose logit is the largest; a function from the inputs to the
    logits, one for each label; an error, with which every request fails (`ServingUnavailable`, `ModelError`); or None for
    logits that follow from the inputs, so that equal inputs have equal answers and others have others. Inputs that break
    `spec`, and frames of another side than `image_size`, give a ModelError, as from a real client.

    With `late`, requests wait until `flush`, and the last one is then answered first.
    """

    def __init__(
        self,
        answer: str | Callable[[Tensors], Sequence[float]] | Exception | None = None,
        *,
        labels: Sequence[str] = LABELS,
        name: str = "fake",
        version: str = "1",
        image_size: int = 112,
        sound: SoundInput = FAITHFUL,
        spec: ModelSpec = EXPRESSION,
        late: bool = False,
    ):
        if isinstance(answer, str) and answer not in labels:
            raise ValueError(f"expected one of the labels {', '.join(labels)}, got {answer!r}")
        self.info = ModelInfo(name, version, tuple(labels), image_size, True, sound)
        self.asked = 0
        """How many requests came, those that were refused included."""
        self.closed = False
        """Whether the model was given back. Requests that come later fail."""
        self._answer, self._spec, self._late = answer, spec, late
        self._waiting: list[tuple[Future[Answer], Tensors]] = []
        self._lock = threading.Lock()

    def submit(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item; the future holds `logits`, float32 [labels]."""
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
            self._check(inputs)
            logits = np.asarray(self._logits(inputs), np.float32)
            self.info.check_logits(logits)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result({"logits": logits})

    def _check(self, inputs: Tensors) -> None:
        if self.closed:
            raise ModelError("the model client is closed; open another one")
        self._spec.check_inputs(inputs)
        side, frames = self.info.image_size, inputs.get("frames")
        if frames is not None and frames.shape[-2:] != (side, side):
            got = "x".join(map(str, frames.shape[-2:]))
            raise ModelError(f"input 'frames': model {self.info.name} takes {side}x{side} pixels, got {got}")

    def _logits(self, inputs: Tensors) -> Sequence[float] | npt.NDArray[Any]:
        answer = self._answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return [4.0 * (label == answer) for label in self.info.labels]
        if answer is not None:
            return answer(inputs)
        seed = 0
        for name in sorted(inputs):
            seed = zlib.crc32(np.ascontiguousarray(inputs[name]).tobytes(), seed)
        return np.random.default_rng(seed).standard_normal(len(self.info.labels))
