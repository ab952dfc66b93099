"""The backend behind a Triton server: one model of a connection, with its own deadline and retries."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
from tritonclient.grpc import InferResult
from tritonclient.utils import InferenceServerException

from streamfx.config.serving import Serving
from streamfx.errors import ModelError, ServingUnavailable
from streamfx.models.base import ServedModel
from streamfx.models.contract import INFO, NUMPY_TYPES, Answer, ModelInfo, Tensors
from streamfx.serving.shared_memory import TRANSIENT
from streamfx.serving.triton_connection import connect, disconnect

log = logging.getLogger(__name__)

Result = TypeVar("Result")

CONNECT_S = 10.0
"""Seconds to wait for a server's first answer before giving up."""
BACKOFF_FIRST_S = 0.25
"""Seconds before the first retry; doubled with each further one."""
BACKOFF_MOST_S = 10.0
"""Most seconds between two tries."""


class TritonBackend:
    """One served model of a connection, which it may share with other models of the same server.

    A try that finds the server away or late is repeated `serving.retries` times with growing, jittered pauses; other
    errors are not repeated. A server that restarts is found again; with other weights than before it is a ModelError.
    """

    def __init__(self, model: type[ServedModel], serving: Serving):
        """Connect, and learn which weights are served; ServingUnavailable where no server answers."""
        self._spec, self._serving = model.spec, serving
        self._away = self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._connection = connect(serving.triton)
        try:
            self.info = self._start(self._ask_info()).result()
            self._spec = model.spec_of(self.info)
        except BaseException:
            self.close()
            raise

    def send(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item."""
        if self._closed:
            raise ModelError("the client of the model is closed")
        return self._start(self._answer(inputs))

    def retune(self, serving: Serving) -> None:
        """The next try has the new deadline, and a failed one the new number of repeats."""
        self._serving = serving

    def close(self) -> None:
        """Drop what is under way, and give the connection back."""
        self._closed = True
        self._connection.start(self._drop()).result()
        disconnect(self._serving.triton)

    def _start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run `work` on the connection's event loop, as a task that `_drop` can end."""

        async def noted() -> Result:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await work
            finally:
                self._tasks.discard(task)

        return self._connection.start(noted())

    async def _drop(self) -> None:
        # Requests of other models, on the same event loop, go on.
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_info(self) -> ModelInfo:
        smallest = {
            spec.name: np.zeros([abs(size) for size in spec.dims], NUMPY_TYPES[spec.dtype])
            for spec in self._spec.inputs
        }
        _, info = await self._retry(
            smallest, [INFO.name], by_region=False, give_up_s=min(CONNECT_S, self._serving.deadline_s)
        )
        if not info.trained:
            log.warning(
                "Triton at %s serves %s (%s), which is untrained: its scores mean nothing",
                self._serving.triton.url,
                info.name,
                info.version,
            )
        return info

    async def _answer(self, inputs: Tensors) -> Answer:
        names = [output.name for output in self._spec.outputs]
        result, served = await self._retry(inputs, [*names, INFO.name], by_region=True)
        if served != self.info:
            raise ModelError(
                f"Triton at {self._serving.triton.url} now serves {served.name} {served.version}, and served "
                f"{self.info.name} {self.info.version} when this run started; start the run again"
            )
        batch = {name: value for name in names if (value := result.as_numpy(name)) is not None}
        self._spec.check_outputs(batch, batched=True)
        for name, value in batch.items():
            if len(value) != 1:
                raise ModelError(f"output {name!r}: expected one item, got {len(value)}")
        return {name: value[0] for name, value in batch.items()}

    async def _retry(
        self, inputs: Tensors, outputs: Sequence[str], by_region: bool, give_up_s: float | None = None
    ) -> tuple[InferResult, ModelInfo]:
        """Try until there is an answer, for `give_up_s` seconds in all if given; with it, what it says of the model."""
        started = time.monotonic()
        for attempt in itertools.count():
            left_s = self._serving.deadline_s if give_up_s is None else give_up_s - (time.monotonic() - started)
            try:
                result = await self._connection.infer(self._spec, inputs, outputs, max(left_s, 0.001), by_region)
                info = _info_of(result)
                self._note_back()
                return result, info
            except InferenceServerException as error:
                if not _may_pass(error):
                    raise ModelError(
                        f"Triton at {self._serving.triton.url}, model {self._spec.name!r}: {error.message()}"
                    ) from error
                self._connection.forget_registrations()
                last = error
            pause_s = min(BACKOFF_FIRST_S * 2 ** min(attempt, 10), BACKOFF_MOST_S) * random.uniform(0.75, 1.25)
            if attempt >= self._serving.retries or (give_up_s and time.monotonic() - started + pause_s >= give_up_s):
                break
            self._note_away(last)
            await asyncio.sleep(pause_s)
        raise ServingUnavailable(
            f"no answer from Triton at {self._serving.triton.url} for model {self._spec.name!r} in {attempt + 1} tries "
            f"over {time.monotonic() - started:.0f} s ({_reason(last)}); start it (`streamfx triton serve`), or mend "
            "serving.triton.url, serving.deadline_s or serving.in_flight"
        ) from last

    def _note_away(self, error: InferenceServerException) -> None:
        """Say it once an outage, not once a request."""
        if not self._away:
            log.warning(
                "Triton at %s, model %r, is away (%s); trying again",
                self._serving.triton.url,
                self._spec.name,
                _reason(error),
            )
        self._away = True

    def _note_back(self) -> None:
        if self._away:
            log.warning("Triton at %s, model %r, answers again", self._serving.triton.url, self._spec.name)
        self._away = False


def _may_pass(error: InferenceServerException) -> bool:
    """Whether a repeat may succeed: the server is away or late, or lost its mappings or its Python process."""
    message = str(error.message())
    return error.status() in TRANSIENT or "shared memory region" in message or "Stub process" in message


def _reason(error: InferenceServerException) -> str:
    return str(error.message())[:160].rstrip(". ")


def _info_of(result: InferResult) -> ModelInfo:
    """What the answer says of the model. Where it is damaged, as Triton was seen to answer while it started a model's
    process again, an InferenceServerException that may pass: nothing else of that answer can be relied on either."""
    info = result.as_numpy(INFO.name)
    if info is None or info.size != 1:
        raise ModelError("output 'info': expected one text, got none; is this a model of streamfx?")
    try:
        return ModelInfo.from_json(bytes(info.reshape(-1)[0]))
    except ModelError as error:
        raise InferenceServerException(f"its answer is damaged: {error}", TRANSIENT[0]) from error
