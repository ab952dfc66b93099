"""The pool of shared memory: a tensor is copied once for all requests that need it, and never under one that reads
it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from streamfx.serving import shared_memory
from streamfx.serving.shared_memory import MOST_KEPT, Region, RegionPool
from streamfx.serving.uploads import Uploads, uploads

Take = Callable[[np.ndarray], Region]


class Server:
    """What a server knows of regions; it can restart, and refuse."""

    def __init__(self) -> None:
        self.mapped: set[str] = set()
        self.calls = 0
        self.refuses = False
        self.turns = 0
        """How often the event loop goes round before it answers."""
        self.seen = bytearray()
        """What was in the regions when they were mapped."""

    async def register_system_shared_memory(self, name: str, key: str, size: int, client_timeout: float) -> None:
        self.calls += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.refuses:
            raise InferenceServerException("client shared memory is not allowed on this server")
        if name in self.mapped:
            raise InferenceServerException(f"shared memory region '{name}' already in manager")
        file = Path("/dev/shm") / key
        if not file.exists():
            raise InferenceServerException(f"Unable to open shared memory region: '{key}'")
        self.seen += file.read_bytes()
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
    assert not named()


def named() -> list[Path]:
    """This process's regions that have a file."""
    return list(Path("/dev/shm").glob(f"streamfx_{os.getpid()}_*"))


def pixels(seed: int, count: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def copies() -> int:
    return uploads().get(("t", "shared_memory"), Uploads()).tensors


def reserve(pool: RegionPool, value: np.ndarray) -> Region:
    taken = pool.take({"t": value})
    assert taken is not None
    return taken["t"]


def register(pool: RegionPool, server: Server, *regions: Region) -> bool:
    return asyncio.run(pool.register(server, regions, 1.0))  # type: ignore[arg-type]


@pytest.fixture
def take(pool: RegionPool, server: Server) -> Take:
    """Takes a region for an array, and has it mapped and filled."""

    def taken(value: np.ndarray) -> Region:
        region = reserve(pool, value)
        assert register(pool, server, region)
        return region

    return taken


def test_requests_of_the_same_array_share_a_region(pool: RegionPool, take: Take) -> None:
    before, value = copies(), pixels(1)
    first, again, view = take(value), take(value), take(value.reshape(8, 8)[None])
    assert first is again is view and first.users == 3 and copies() == before + 1
    np.testing.assert_array_equal(first.content(), value)
    other = take(pixels(1))
    assert other is not first and copies() == before + 2, "an equal array is another one"
    part = take(value[:32])
    assert part is not first and copies() == before + 3
    np.testing.assert_array_equal(part.content(), value[:32])


def test_a_region_whose_array_lives_is_kept_for_the_next_model(pool: RegionPool, take: Take) -> None:
    value, before = pixels(1), copies()
    region = take(value)
    pool.give_back([region])
    other = take(pixels(2))
    assert other is not region
    assert take(value) is region and copies() == before + 2


def test_a_region_whose_array_is_gone_is_filled_anew(pool: RegionPool, take: Take) -> None:
    region = take(pixels(1))
    pool.give_back([region])
    value = pixels(2)
    assert take(value) is region
    np.testing.assert_array_equal(region.content(), value)


def test_nothing_is_written_where_a_request_still_reads(pool: RegionPool, take: Take) -> None:
    region = take(pixels(1))  # the array is gone, and the request is not over
    other = take(pixels(2))
    assert other is not region
    np.testing.assert_array_equal(region.content(), pixels(1))


def test_arrays_that_live_on_do_not_make_the_pool_grow_without_bound(pool: RegionPool, take: Take) -> None:
    kept, names = [pixels(seed) for seed in range(5 * MOST_KEPT)], set()
    for value in kept:
        region = take(value)
        np.testing.assert_array_equal(region.content(), value)
        names.add(region.name)
        pool.give_back([region])
    assert len(names) == MOST_KEPT


def test_an_array_that_is_not_contiguous_is_sent_in_its_order(pool: RegionPool, take: Take) -> None:
    value = pixels(1).reshape(8, 8).T
    np.testing.assert_array_equal(take(value).content().reshape(8, 8), value)
    np.testing.assert_array_equal(take(value.base).content(), pixels(1))


def test_no_file_ever_holds_a_tensor(pool: RegionPool, server: Server, take: Take) -> None:
    region = reserve(pool, pixels(1))
    assert len(named()) == 1 and named()[0].read_bytes() == bytes(64)
    assert register(pool, server, region) and not named()
    np.testing.assert_array_equal(region.content(), pixels(1))
    pool.give_back([region])
    take(pixels(2))
    server.mapped.clear()
    pool.forget_registrations()
    take(pixels(3))
    assert not named() and len(server.seen) == 2 * 64 and not any(server.seen)


def test_a_server_that_restarted_maps_regions_anew_and_one_that_did_not_is_believed(
    pool: RegionPool, server: Server, take: Take
) -> None:
    regions = [take(pixels(seed)) for seed in (1, 2)]
    assert register(pool, server, *regions) and server.calls == 2
    assert server.mapped == {region.name for region in regions}
    server.mapped.clear()
    pool.forget_registrations()
    assert register(pool, server, *regions) and server.mapped == {region.name for region in regions}
    for seed, region in zip((1, 2), regions, strict=True):
        np.testing.assert_array_equal(region.content(), pixels(seed))
    calls = server.calls
    pool.forget_registrations()  # it was only slow, and answers that it has mapped them already
    assert register(pool, server, *regions) and server.calls == calls + 2 and len(server.mapped) == 2


def test_two_requests_that_wait_for_a_restarted_server_renew_their_region_once(
    pool: RegionPool, server: Server, take: Take
) -> None:
    value = pixels(1)
    assert take(value) is take(value)
    region = reserve(pool, value)
    server.mapped.clear()
    pool.forget_registrations()

    async def both() -> list[bool]:
        asked = [pool.register(server, [region], 1.0) for _ in range(2)]  # type: ignore[arg-type]
        return await asyncio.gather(*asked)

    server.turns = 3
    assert asyncio.run(both()) == [True, True] and server.mapped == {region.name} and pool.usable
    np.testing.assert_array_equal(region.content(), value)


def test_what_was_given_back_before_it_was_copied_is_not_taken_for_its_tensor(pool: RegionPool, take: Take) -> None:
    value, before = pixels(1), copies()
    region = reserve(pool, value)
    pool.give_back([region])
    again = take(value)
    assert copies() == before + 1
    np.testing.assert_array_equal(again.content(), value)


def test_a_region_that_the_server_may_still_read_is_not_unmapped(server: Server) -> None:
    pool = RegionPool()
    late, value = reserve(pool, pixels(1)), pixels(2)
    shared, also = reserve(pool, value), reserve(pool, value)
    register(pool, server, late, shared)
    pool.give_back([late], abandoned=True)
    pool.give_back([shared], abandoned=True)  # one request ran out of time, the other did not
    pool.give_back([also])
    well = reserve(pool, pixels(3))
    register(pool, server, well)
    asyncio.run(pool.close(server, 1.0))  # type: ignore[arg-type]
    assert server.mapped == {late.name, shared.name}


def test_a_server_that_refuses_gets_no_more_regions(pool: RegionPool, server: Server) -> None:
    server.refuses = True
    assert not register(pool, server, reserve(pool, pixels(1)))
    assert pool.take({"t": pixels(2)}) is None


def test_without_shared_memory_what_was_taken_is_given_back(
    pool: RegionPool, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, more = pixels(1), pixels(2, 128)
    region = take(value)
    pool.give_back([region])

    def fails(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(shared_memory, "SharedMemory", fails)
    assert pool.take({"t": value, "u": more}) is None
    assert region.users == 0 and not pool.usable
