"""Regions of system shared memory that carry tensors to a Triton server on the same machine, each tensor once."""

from __future__ import annotations

import logging
import os
import uuid
import weakref
from collections.abc import Sequence
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import numpy.typing as npt
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


class Region:
    """Memory that holds one tensor for all requests that need it.

    It has a name, under which the server opens it, for as long as it is empty: so whatever is killed, no file with pixels
    or sound in it is left.
    """

    def __init__(self, size: int):
        """Raises OSError where there is no room."""
        self.size = size
        self._memory = _named_memory(size)
        self._is_named = True
        self.name = self._memory.name
        self.place: _Place = (0, 0)
        self.owner: weakref.ref[Tensor] | None = None
        """The array whose memory the tensor is. While it lives, nothing else can lie at `place`."""
        self.waiting: tuple[str, Tensor] | None = None
        """The input's name, and its tensor, which is copied once the server has mapped the region."""
        self.users = 0
        """Requests under way that read the region."""
        self.generation = -1
        """That in which the server has mapped it."""
        self.abandoned = False
        """Whether a request ran out of time, so that the server may read the region at any later moment; unmapping it
        then can end the server."""

    @property
    def can_be_opened(self) -> bool:
        """Whether a server that has not mapped the region yet can do so."""
        return self._is_named

    def renew(self) -> None:
        """Take memory with a new name, for a server that has lost its mapping; the tensor is copied again.

        Raises OSError where there is no room.
        """
        memory = _named_memory(self.size)
        if self.waiting is None:
            self.waiting = ("", self.content())
        self.destroy()
        self._memory, self._is_named, self.name = memory, True, memory.name

    def fill(self) -> None:
        """Take the name away, and copy the tensor that waits; the server has mapped the region."""
        self._hide()
        if self.waiting is not None:
            name, value = self.waiting
            np.ndarray(value.shape, value.dtype, buffer=self._memory.buf)[...] = value
            if name:
                count_upload(name, "shared_memory", value.nbytes)
            self.waiting = None

    def content(self) -> npt.NDArray[np.uint8]:
        """A copy of the bytes in it."""
        return np.ndarray(self.size, np.uint8, buffer=self._memory.buf).copy()

    def destroy(self) -> None:
        """Give the memory back."""
        self._hide()
        self._memory.close()

    def _hide(self) -> None:
        if self._is_named:
            self._memory.unlink()
            self._is_named = False

    def holds(self, owner: Tensor) -> bool:
        """Whether its tensor is of this very array, or that array's views."""
        return self.owner is not None and self.owner() is owner

    @property
    def is_needed(self) -> bool:
        """Whether somebody may still ask about its tensor."""
        return self.owner is not None and self.owner() is not None


class RegionPool:
    """As many regions as there are tensors in flight, for all models of a server; made when needed, gone after `close`.

    A tensor is copied for the first request that needs it. Later requests, of the same model or another, read the same
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
        """A region for each tensor, by name; None where there is no shared memory to be had. `register` fills them."""
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
                if region.waiting is not None:  # it never came to the copy
                    region.waiting = None
                    self._let_go(region)
                self._free.append(region)

    async def register(self, client: InferenceServerClient, regions: Sequence[Region], timeout_s: float) -> bool:
        """Have the server map the regions, and copy the tensors into them; False if it will not.

        Raises InferenceServerException where the server is away.
        """
        for region in regions:
            if region.generation != self._generation and not await self._register(client, region, timeout_s):
                return False
            region.fill()
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
            region.place, region.owner, region.users = place, weakref.ref(owner), 1
            region.waiting = (name, value)
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
        self._let_go(region)
        return region

    def _let_go(self, region: Region) -> None:
        """No later request finds this region by its tensor."""
        region.owner = None
        if self._held.get(region.place) is region:
            del self._held[region.place]

    def _create(self, size: int) -> Region | None:
        try:
            region = Region(size)
        except OSError as error:
            self._refuse(f"no shared memory here: {error}")
            return None
        self._all.append(region)
        return region

    async def _register(self, client: InferenceServerClient, region: Region, timeout_s: float) -> bool:
        generation, name = self._generation, region.name
        try:
            await client.register_system_shared_memory(name, name, region.size, client_timeout=timeout_s)
        except InferenceServerException as error:
            if error.status() in TRANSIENT:
                raise
            if "already" not in str(error.message()):
                # Another request may have renewed it meanwhile.
                if region.name == name and not self._renewed(region, str(error.message())):
                    return False
                return await self._register(client, region, timeout_s)
        region.generation = generation
        return True

    def _renewed(self, region: Region, refusal: str) -> bool:
        """Whether the region got a new name because the server could not know its old one."""
        if region.can_be_opened:
            self._refuse(refusal)
            return False
        try:
            region.renew()
        except OSError as error:
            self._refuse(f"no shared memory here: {error}")
            return False
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
                region.destroy()
            self._all.clear()
            self._free.clear()
            self._held.clear()


def _named_memory(size: int) -> SharedMemory:
    return SharedMemory(f"streamfx_{os.getpid()}_{uuid.uuid4().hex[:12]}", create=True, size=size)


def _owner(value: Tensor) -> Tensor:
    """The array whose memory a view shows, itself for one that is no view."""
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value
