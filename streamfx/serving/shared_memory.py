"""Regions of system shared memory that carry a request's tensors to a Triton server on the same machine."""

from __future__ import annotations

import logging
import os
import uuid
from dataclasses import dataclass
from typing import Any

import tritonclient.utils.shared_memory as triton_shm
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from streamfx.models.contract import ModelSpec, Tensors

log = logging.getLogger(__name__)

TRANSIENT = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
"""Statuses that say the server is away for now."""


@dataclass
class Region:
    """One region, used by one request at a time. `known` in `generation` means that the server has mapped it.

    `abandoned`: a request ran out of time, so that the server may read the region at any later moment; unmapping it
    then can end the server.
    """

    name: str
    handle: Any
    size: int
    generation: int = -1
    abandoned: bool = False


class RegionPool:
    """As many regions as there are requests in flight; made when needed, gone after `close`.

    All use is from one event loop. `usable` turns False once the server refuses: then requests carry their tensors.
    """

    def __init__(self, spec: ModelSpec):
        self.usable = True
        self._spec = spec
        self._free: list[Region] = []
        self._all: list[Region] = []
        self._generation = 0

    def forget_registrations(self) -> None:
        """The server was away and may have restarted: its mappings are no longer believed in."""
        self._generation += 1

    def take(self, size: int) -> Region | None:
        """A region of `size` bytes; None where there is no shared memory to be had."""
        for i, region in enumerate(self._free):
            if region.size == size:
                return self._free.pop(i)
        name = f"streamfx_{os.getpid()}_{uuid.uuid4().hex[:12]}"
        try:
            region = Region(name, triton_shm.create_shared_memory_region(name, name, size, create_only=True), size)
        except triton_shm.SharedMemoryException as error:
            self._refuse(f"no shared memory here: {error}")
            return None
        self._all.append(region)
        return region

    def give_back(self, region: Region) -> None:
        """The request is over; another may use the region."""
        self._free.append(region)

    async def fill(
        self, client: InferenceServerClient, region: Region, tensors: Tensors, timeout_s: float
    ) -> list[InferInput] | None:
        """Copy one item into the region and describe it for a request; None if the server will not map the region.

        Raises InferenceServerException where the server is away.
        """
        if region.generation != self._generation and not await self._register(client, region, timeout_s):
            return None
        described, offset = [], 0
        for spec in self._spec.inputs:
            value = tensors[spec.name]
            triton_shm.set_shared_memory_region(region.handle, [value], offset)
            item = InferInput(spec.name, [1, *value.shape], spec.dtype)
            item.set_shared_memory(region.name, value.nbytes, offset)
            described.append(item)
            offset += value.nbytes
        return described

    async def _register(self, client: InferenceServerClient, region: Region, timeout_s: float) -> bool:
        generation = self._generation
        try:
            await client.register_system_shared_memory(region.name, region.name, region.size, client_timeout=timeout_s)
        except InferenceServerException as error:
            if error.status() in TRANSIENT:
                raise
            if "already" not in str(error.message()):
                self._refuse(str(error.message()))
                return False
        region.generation = generation
        return True

    def _refuse(self, reason: str) -> None:
        if self.usable:
            log.info("the Triton server cannot take tensors through shared memory, sending them by gRPC: %s", reason)
        self.usable = False

    async def close(self, client: InferenceServerClient, timeout_s: float) -> None:
        """Have the server unmap what it can safely unmap, then remove all regions from this machine."""
        try:
            for region in self._all:
                if region.generation == self._generation and not region.abandoned:
                    await client.unregister_system_shared_memory(region.name, client_timeout=timeout_s)
        except InferenceServerException as error:
            log.debug("shared memory was not unregistered: %s", error.message())
        finally:
            for region in self._all:
                triton_shm.destroy_shared_memory_region(region.handle)
            self._all.clear()
            self._free.clear()
