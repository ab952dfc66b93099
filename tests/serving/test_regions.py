"""The pool of shared memory: a tensor is copied once for all requests that need it, and never under one that reads
it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.utils.shared_memory as triton_shm
from tritonclient.utils import InferenceServerException

from streamfx.serving.shared_memory import MOST_KEPT, Region, RegionPool
from streamfx.serving.uploads import Uploads, uploads


class Server:
    """What a server knows of regions; it can restart, and refuse."""

    def __init__(self) -> None:
        self.mapped: set[str] = set()
        self.calls = 0
        self.refuses = False

    async def register_system_shared_memory(self, name: str, key: str, size: int, client_timeout: float) -> None:
        self.calls += 1
        if self.refuses:
            raise InferenceServerException("client shared memory is not allowed on this server")
        if name in self.mapped:
            raise InferenceServerException(f"shared memory region '{name}' already in manager")
        self.mapped.add(name)

    async def unregister_system_shared_memory(self, name: str, client_timeout: float) -> None:
        self.mapped.remove(name)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def pool(server: Server) -> Iterator[RegionPool]:
    made = RegionPool()
    yield made
    asyncio.run(made.close(server, 1.0))  # type: ignore[arg-type]
    assert not list(Path("/dev/shm").glob(f"streamfx_{os.getpid()}_*"))


def pixels(seed: int, count: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def copies() -> int:
    return uploads().get(("t", "shared_memory"), Uploads()).tensors


def take(pool: RegionPool, value: np.ndarray) -> Region:
    taken = pool.take({"t": value})
    assert taken is not None
    return taken["t"]


def content(region: Region) -> Any:
    return triton_shm.get_contents_as_numpy(region.handle, np.uint8, [region.size])


def register(pool: RegionPool, server: Server, *regions: Region) -> bool:
    return asyncio.run(pool.register(server, regions, 1.0))  # type: ignore[arg-type]


def test_requests_of_the_same_array_share_a_region(pool: RegionPool) -> None:
    before, value = copies(), pixels(1)
    first, again, view = take(pool, value), take(pool, value), take(pool, value.reshape(8, 8)[None])
    assert first is again is view and first.users == 3 and copies() == before + 1
    np.testing.assert_array_equal(content(first), value)
    other = take(pool, pixels(1))
    assert other is not first and copies() == before + 2, "an equal array is another one"
    part = take(pool, value[:32])
    assert part is not first and copies() == before + 3
    np.testing.assert_array_equal(content(part), value[:32])


def test_a_region_whose_array_lives_is_kept_for_the_next_model(pool: RegionPool) -> None:
    value, before = pixels(1), copies()
    region = take(pool, value)
    pool.give_back([region])
    other = take(pool, pixels(2))
    assert other is not region
    assert take(pool, value) is region and copies() == before + 2


def test_a_region_whose_array_is_gone_is_filled_anew(pool: RegionPool) -> None:
    region = take(pool, pixels(1))
    pool.give_back([region])
    value = pixels(2)
    assert take(pool, value) is region
    np.testing.assert_array_equal(content(region), value)


def test_nothing_is_written_where_a_request_still_reads(pool: RegionPool) -> None:
    region = take(pool, pixels(1))  # the array is gone, and the request is not over
    other = take(pool, pixels(2))
    assert other is not region
    np.testing.assert_array_equal(content(region), pixels(1))


def test_arrays_that_live_on_do_not_make_the_pool_grow_without_bound(pool: RegionPool) -> None:
    kept, names = [pixels(seed) for seed in range(5 * MOST_KEPT)], set()
    for value in kept:
        region = take(pool, value)
        np.testing.assert_array_equal(content(region), value)
        names.add(region.name)
        pool.give_back([region])
    assert len(names) == MOST_KEPT


def test_an_array_that_is_not_contiguous_is_sent_in_its_order(pool: RegionPool) -> None:
    value = pixels(1).reshape(8, 8).T
    np.testing.assert_array_equal(content(take(pool, value)).reshape(8, 8), value)
    np.testing.assert_array_equal(content(take(pool, value.base)), pixels(1))


def test_a_server_that_restarted_maps_regions_anew_and_one_that_did_not_is_believed(
    pool: RegionPool, server: Server
) -> None:
    regions = [take(pool, pixels(seed)) for seed in (1, 2)]
    assert register(pool, server, *regions) and register(pool, server, *regions)
    assert server.mapped == {region.name for region in regions} and server.calls == 2
    server.mapped.clear()
    pool.forget_registrations()
    assert register(pool, server, *regions) and len(server.mapped) == 2
    pool.forget_registrations()  # it was only slow, and answers that it has mapped them already
    assert register(pool, server, *regions) and server.calls == 6


def test_a_region_that_the_server_may_still_read_is_not_unmapped(server: Server) -> None:
    pool = RegionPool()
    late, value = take(pool, pixels(1)), pixels(2)
    shared, also = take(pool, value), take(pool, value)
    register(pool, server, late, shared)
    pool.give_back([late], abandoned=True)
    pool.give_back([shared], abandoned=True)  # one request ran out of time, the other did not
    pool.give_back([also])
    well = take(pool, pixels(3))
    register(pool, server, well)
    asyncio.run(pool.close(server, 1.0))  # type: ignore[arg-type]
    assert server.mapped == {late.name, shared.name}


def test_a_server_that_refuses_gets_no_more_regions(pool: RegionPool, server: Server) -> None:
    server.refuses = True
    assert not register(pool, server, take(pool, pixels(1)))
    assert pool.take({"t": pixels(2)}) is None


def test_without_shared_memory_what_was_taken_is_given_back(pool: RegionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    value, more = pixels(1), pixels(2, 128)
    region = take(pool, value)
    pool.give_back([region])

    def fails(*_: object, **__: object) -> None:
        raise triton_shm.SharedMemoryException("no room")

    monkeypatch.setattr(triton_shm, "create_shared_memory_region", fails)
    assert pool.take({"t": value, "u": more}) is None
    assert region.users == 0 and not pool.usable
