"""Regions of system shared memory that carry tensors to a Triton server on the same machine, each tensor once."""

from __future__ import annotations

import logging
import os
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.utils.shared_memory as triton_shm
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from streamfx.models.contract import Tensors
from streamfx.serving.uploads import count_upload

log = logging.getLogger(__name__)

TRANSIENT = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
"""Statuses that say the server is away for now."""
MOST_KEPT = 8
"""Regions of one size that are kept while no request needs them, because their tensor is alive and another model may be
asked about it. The line asks all models about one window before the next, so a few are plenty."""

Tensor = npt.NDArray[np.generic]
_Place = tuple[int, int]
"""Address and number of bytes."""


@dataclass(eq=False)
class Region:
    """One region, which holds one tensor for all requests that need it. `generation`: that in which the server has
    mapped it.

    `abandoned`: a request ran out of time, so that the server may read the region at any later moment; unmapping it
    then can end the server.
    """

    name: str
    handle: Any
    size: int
    place: _Place = (0, 0)
    owner: weakref.ref[Tensor] | None = None
    """The array whose memory the tensor is. While it lives, nothing else can lie at `place`."""
    users: int = 0
    """Requests under way that read the region."""
    generation: int = -1
    abandoned: bool = False

    def holds(self, owner: Tensor) -> bool:
        """Whether its tensor is of this very array, or that array's views."""
        return self.owner is not None and self.owner() is owner

    @property
    def is_needed(self) -> bool:
        """Whether somebody may still ask about its tensor."""
        return self.owner is not None and self.owner() is not None


class RegionPool:
    """As many regions as there are tensors in flight, for all models of a server; made when needed, gone after `close`.

    A tensor is copied when the first request needs it. Later requests, of the same model or another, read the same
    region, for as long as the array is alive: arrays that are sent are never written to
    (`records.Window`).

    All use is from one event loop. `usable` turns False once the server refuses: then requests carry their tensors.
    """

    def __init__(self) -> None:
        self.usable = True
        self._all: list[Region] = []
        self._free: list[Region] = []
        """Those without a user; the one that has been free for longest is first."""
        self._held: dict[_Place, Region] = {}
        self._generation = 0

    def forget_registrations(self) -> None:
        """The server was away and may have restarted, so its mappings count as lost."""
        self._generation += 1

    def take(self, tensors: Tensors) -> dict[str, Region] | None:
        """A region for each tensor, by name, with the tensor in it; None where there is no shared memory to be had."""
        taken: dict[str, Region] = {}
        for name, value in tensors.items():
            region = self._take_one(name, value) if self.usable else None
            if region is None:
                self.give_back(list(taken.values()))
                return None
            taken[name] = region
        return taken

    def give_back(self, regions: Sequence[Region], abandoned: bool = False) -> None:
        """A request is over. Others that read the same regions may go on; `abandoned` as for `Region`."""
        for region in regions:
            region.abandoned |= abandoned
            region.users -= 1
            if not region.users:
                self._free.append(region)

    async def register(self, client: InferenceServerClient, regions: Sequence[Region], timeout_s: float) -> bool:
        """Have the server map the regions; False if it will not.

        Raises InferenceServerException where the server is away.
        """
        for region in regions:
            if region.generation != self._generation and not await self._register(client, region, timeout_s):
                return False
        return True

    def _take_one(self, name: str, value: Tensor) -> Region | None:
        value = np.ascontiguousarray(value)  # a copy has an owner of its own, which nobody else knows
        owner, place = _owner(value), (value.__array_interface__["data"][0], value.nbytes)
        region = self._held.get(place)
        if region is not None and region.holds(owner):
            if not region.users:
                self._free.remove(region)
            region.users += 1
            return region
        region = self._room(value.nbytes)
        if region is not None:
            triton_shm.set_shared_memory_region(region.handle, [value])
            count_upload(name, "shared_memory", value.nbytes)
            region.place, region.owner, region.users = place, weakref.ref(owner), 1
            self._held[place] = region
        return region

    def _room(self, size: int) -> Region | None:
        """A region of `size` bytes that no request reads and whose tensor is not needed; it belongs to the caller."""
        fitting = [region for region in self._free if region.size == size]
        region = next((one for one in fitting if not one.is_needed), None)
        if region is None and len(fitting) >= MOST_KEPT:
            region = fitting[0]
        if region is None:
            return self._create(size)
        self._free.remove(region)
        if self._held.get(region.place) is region:
            del self._held[region.place]
        return region

    def _create(self, size: int) -> Region | None:
        name = f"streamfx_{os.getpid()}_{uuid.uuid4().hex[:12]}"
        try:
            region = Region(name, triton_shm.create_shared_memory_region(name, name, size, create_only=True), size)
        except triton_shm.SharedMemoryException as error:
            self._refuse(f"no shared memory here: {error}")
            return None
        self._all.append(region)
        return region

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
            self._held.clear()


def _owner(value: Tensor) -> Tensor:
    """The array whose memory a view shows, itself for one that is no view."""
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value
