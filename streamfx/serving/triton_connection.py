"""The connection to one Triton server, which all models of this process share: requests, TLS and shared memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from streamfx.config.serving import Triton
from streamfx.errors import ConfigError
from streamfx.models.contract import ModelSpec, Tensors
from streamfx.serving.shared_memory import Region, RegionPool
from streamfx.serving.uploads import count_upload

Result = TypeVar("Result")

CLOSE_S = 2.0
"""Seconds a server has to take back its mappings of shared memory."""
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # gRPC's own default of two minutes would keep a client away long after the server is back.
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class TritonConnection:
    """One gRPC client, its event loop in a thread of its own, and the regions of shared memory. Get it by `connect`."""

    def __init__(self, triton: Triton):
        self.users = 0
        self._triton, self._ca = triton, _check_ca(triton)
        self._regions = RegionPool()
        self._regions.usable = triton.shared_memory == "auto"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="triton client", daemon=True)
        self._thread.start()
        try:
            self._client = self.start(self._open()).result()
        except BaseException:
            self._end_thread()
            raise

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine on the connection's event loop; may be called from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def infer(
        self, spec: ModelSpec, inputs: Tensors, outputs: Sequence[str], timeout_s: float, by_region: bool = True
    ) -> InferResult:
        """Ask a model once. Tensors go through shared memory where that works; one that is there already is not copied
        again.

        Raises InferenceServerException.
        """
        # A text has no fixed number of bytes.
        by_region = by_region and all(tensor.dtype != "BYTES" for tensor in spec.inputs)
        regions = self._regions.take(inputs) if by_region else None
        if regions is None:
            return await self._ask(spec, _by_value(spec, inputs), outputs, timeout_s)
        abandoned = False
        try:
            mapped = await self._regions.register(self._client, list(regions.values()), timeout_s)
            described = _by_region(spec, inputs, regions) if mapped else _by_value(spec, inputs)
            return await self._ask(spec, described, outputs, timeout_s)
        except (InferenceServerException, asyncio.CancelledError):
            abandoned = True
            raise
        finally:
            self._regions.give_back(list(regions.values()), abandoned)

    def forget_registrations(self) -> None:
        """The server was away and may have restarted, so it must map all regions anew."""
        self._regions.forget_registrations()

    def close(self) -> None:
        """Free the shared memory, and end the thread."""
        self.start(self._close()).result()
        self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> InferenceServerClient:
        return InferenceServerClient(
            self._triton.url, ssl=self._ca is not None, root_certificates=self._ca, channel_args=CHANNEL_OPTIONS
        )

    async def _close(self) -> None:
        await self._regions.close(self._client, CLOSE_S)
        await self._client.close()

    async def _ask(
        self, spec: ModelSpec, inputs: list[InferInput], outputs: Sequence[str], timeout_s: float
    ) -> InferResult:
        wanted = [InferRequestedOutput(name) for name in outputs]
        return await self._client.infer(spec.name, inputs, outputs=wanted, client_timeout=timeout_s)


_connections: dict[Triton, TritonConnection] = {}
_lock = threading.Lock()


def connect(triton: Triton) -> TritonConnection:
    """The connection to the server that the settings name, the same for all who ask; each gives it back to
    `disconnect`.

    No server is asked yet. Raises ConfigError for a certificate that is not there.
    """
    with _lock:
        if triton not in _connections:
            _connections[triton] = TritonConnection(triton)
        connection = _connections[triton]
        connection.users += 1
        return connection


def disconnect(triton: Triton) -> None:
    """Give the connection back; the last one closes it, and has ended its requests before."""
    with _lock:
        connection = _connections[triton]
        connection.users -= 1
        if connection.users:
            return
        del _connections[triton]
    connection.close()


def _check_ca(triton: Triton) -> str | None:
    ca = triton.ca_file
    if ca is not None and not ca.is_file():
        raise ConfigError(f"serving.triton.ca_file: expected a PEM file, found none at {ca}")
    return None if ca is None else str(ca)


def _by_region(spec: ModelSpec, inputs: Tensors, regions: dict[str, Region]) -> list[InferInput]:
    described = []
    for tensor in spec.inputs:
        value = inputs[tensor.name]
        item = InferInput(tensor.name, [1, *value.shape], tensor.dtype)
        item.set_shared_memory(regions[tensor.name].name, value.nbytes)
        described.append(item)
    return described


def _by_value(spec: ModelSpec, inputs: Tensors) -> list[InferInput]:
    described = []
    for tensor in spec.inputs:
        value = inputs[tensor.name]
        item = InferInput(tensor.name, [1, *value.shape], tensor.dtype)
        item.set_data_from_numpy(value[None])
        count_upload(tensor.name, "message", value.nbytes)
        described.append(item)
    return described
