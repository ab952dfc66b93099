"""The backend behind a Triton server: asynchronous gRPC with a deadline, retries, and shared memory where it helps."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import threading
import time
from concurrent.futures import Future

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from streamfx.config.serving import Serving
from streamfx.errors import ConfigError, ModelError, ServingUnavailable
from streamfx.models.base import ServedModel
from streamfx.models.contract import INFO, NUMPY_TYPES, Answer, ModelInfo, ModelSpec, Tensors
from streamfx.serving.shared_memory import TRANSIENT, RegionPool

log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""Seconds to wait for a server's first answer before giving up."""
BACKOFF_FIRST_S = 0.25
"""Seconds before the first retry; doubled with each further one."""
BACKOFF_MOST_S = 10.0
"""Most seconds between two tries."""
CLOSE_S = 2.0
"""Seconds a server has to take back its mappings of shared memory."""
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # gRPC's own default of two minutes would keep a client away long after the server is back.
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class TritonBackend:
    """One connection to one served model, on an event loop in a thread of its own.

    A try that finds the server away or late is repeated `serving.retries` times with growing, jittered pauses; other
    errors are not repeated. A server that restarts is found again; with other weights than before it is a ModelError.
    """

    def __init__(self, model: type[ServedModel], serving: Serving):
        """Connect, and learn which weights are served; ServingUnavailable where no server answers."""
        self._spec, self._serving = model.spec, serving
        self._ca = _check_ca(serving)
        self._regions = RegionPool(model.spec)
        self._regions.usable = serving.triton.shared_memory == "auto"
        self._client: InferenceServerClient | None = None
        self._away = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="triton client", daemon=True)
        self._thread.start()
        try:
            self.info = asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result()
            self._spec = model.spec_of(self.info)
        except BaseException:
            self.close()
            raise

    def send(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item."""
        return asyncio.run_coroutine_threadsafe(self._answer(inputs), self._loop)

    def retune(self, serving: Serving) -> None:
        """The next try has the new deadline, and a failed one the new number of repeats."""
        self._serving = serving

    def close(self) -> None:
        """Drop what is under way, free the shared memory, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self) -> ModelInfo:
        triton = self._serving.triton
        self._client = InferenceServerClient(
            triton.url, ssl=self._ca is not None, root_certificates=self._ca, channel_args=CHANNEL_OPTIONS
        )
        smallest = {
            spec.name: np.zeros([abs(size) for size in spec.dims], NUMPY_TYPES[spec.dtype])
            for spec in self._spec.inputs
        }
        result = await self._retry(
            smallest, [INFO.name], by_region=False, give_up_s=min(CONNECT_S, self._serving.deadline_s)
        )
        info = ModelInfo.from_json(_info_text(result))
        if not info.trained:
            log.warning(
                "Triton at %s serves %s (%s), which is untrained: its scores mean nothing",
                triton.url,
                info.name,
                info.version,
            )
        return info

    async def _disconnect(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._regions.close(self._client, CLOSE_S)
            await self._client.close()

    async def _answer(self, inputs: Tensors) -> Answer:
        names = [output.name for output in self._spec.outputs]
        result = await self._retry(inputs, [*names, INFO.name], by_region=True)
        served = ModelInfo.from_json(_info_text(result))
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
        self, inputs: Tensors, outputs: list[str], by_region: bool, give_up_s: float | None = None
    ) -> InferResult:
        """Try until there is an answer, for `give_up_s` seconds in all if given."""
        started = time.monotonic()
        for attempt in itertools.count():
            left_s = self._serving.deadline_s if give_up_s is None else give_up_s - (time.monotonic() - started)
            try:
                result = await self._try(inputs, outputs, by_region, max(left_s, 0.001))
                self._note_back()
                return result
            except InferenceServerException as error:
                if not _may_pass(error):
                    raise ModelError(
                        f"Triton at {self._serving.triton.url}, model {self._spec.name!r}: {error.message()}"
                    ) from error
                self._regions.forget_registrations()
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
            log.warning("Triton at %s is away (%s); trying again", self._serving.triton.url, _reason(error))
        self._away = True

    def _note_back(self) -> None:
        if self._away:
            log.warning("Triton at %s answers again", self._serving.triton.url)
        self._away = False

    async def _try(self, inputs: Tensors, outputs: list[str], by_region: bool, timeout_s: float) -> InferResult:
        region = (
            self._regions.take(sum(value.nbytes for value in inputs.values()))
            if by_region and self._regions.usable
            else None
        )
        if region is None:
            return await self._infer(_by_value(self._spec, inputs), outputs, timeout_s)
        try:
            described = await self._regions.fill(self._client, region, inputs, timeout_s)
            return await self._infer(described or _by_value(self._spec, inputs), outputs, timeout_s)
        except (InferenceServerException, asyncio.CancelledError):
            region.abandoned = True
            raise
        finally:
            self._regions.give_back(region)

    async def _infer(self, inputs: list[InferInput], outputs: list[str], timeout_s: float) -> InferResult:
        assert self._client is not None
        wanted = [InferRequestedOutput(name) for name in outputs]
        return await self._client.infer(self._spec.name, inputs, outputs=wanted, client_timeout=timeout_s)


def _may_pass(error: InferenceServerException) -> bool:
    """Whether a repeat may succeed: the server is away or late, or lost its mappings or its Python process."""
    message = str(error.message())
    return error.status() in TRANSIENT or "shared memory region" in message or "Stub process" in message


def _reason(error: InferenceServerException) -> str:
    return str(error.message())[:160].rstrip(". ")


def _by_value(spec: ModelSpec, inputs: Tensors) -> list[InferInput]:
    described = []
    for tensor in spec.inputs:
        item = InferInput(tensor.name, [1, *inputs[tensor.name].shape], tensor.dtype)
        item.set_data_from_numpy(inputs[tensor.name][None])
        described.append(item)
    return described


def _info_text(result: InferResult) -> bytes:
    info = result.as_numpy(INFO.name)
    if info is None or info.size != 1:
        raise ModelError("output 'info': expected one text, got none; is this a model of streamfx?")
    return bytes(info.reshape(-1)[0])


def _check_ca(serving: Serving) -> str | None:
    ca = serving.triton.ca_file
    if ca is not None and not ca.is_file():
        raise ConfigError(f"serving.triton.ca_file: expected a PEM file, found none at {ca}")
    return None if ca is None else str(ca)
