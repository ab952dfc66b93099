"""The topic in memory: what a source promises, and a worker that reads it as it reads a topic of Kafka's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import bad_media, runs

from streamfx.pipeline import load_config
from streamfx.records import Partition
from streamfx.runtime.worker import Worker
from streamfx.source.base import OffsetGone
from streamfx.testing import TEST_PARTITION, MemorySource, make_record


def placed(source: MemorySource, at: int = 0) -> MemorySource:
    """The source with all its partitions assigned, and read from an offset on."""

    def place(given: Sequence[Partition]) -> None:
        for one in given:
            source.seek(one, at)

    source.subscribe(place, lambda taken, lost: None)
    return source


def read(source: MemorySource) -> list[int]:
    """The offsets that come until none comes."""
    offsets = []
    while records := source.poll(0):
        offsets += [record.offset for record in records]
    return offsets


def test_nothing_comes_before_it_is_placed() -> None:
    source = MemorySource([make_record(0)])
    source.subscribe(lambda given: None, lambda taken, lost: None)
    assert source.poll(0) == []
    source.seek(TEST_PARTITION, 0)
    assert read(source) == [0]


def test_records_come_in_order_from_where_it_was_placed_and_offsets_may_be_missing() -> None:
    source = placed(MemorySource(make_record(offset) for offset in (0, 1, 4, 7)), at=1)
    assert read(source) == [1, 4, 7]
    source.append(make_record(9))
    assert read(source) == [9] and not source.finished(TEST_PARTITION)
    source.seek(TEST_PARTITION, 4)
    assert read(source) == [4, 7, 9]
    with pytest.raises(ValueError, match="at least 10"):
        source.append(make_record(9))


def test_a_paused_partition_keeps_its_place_and_the_others_go_on() -> None:
    other = Partition(TEST_PARTITION.topic, TEST_PARTITION.topic_id, 1)
    source = placed(MemorySource(partitions=[TEST_PARTITION, other]))
    for offset in range(2):
        source.append(make_record(offset))
        source.append(make_record(offset, partition=other))
    assert len(source.poll(0)) == 2
    source.pause([other])
    assert [(r.partition, r.offset) for r in source.poll(0)] == [(TEST_PARTITION, 1)]
    source.resume([other])
    assert [(r.partition, r.offset) for r in source.poll(0)] == [(other, 1)]
    assert source.partition_counts() == {TEST_PARTITION.topic: 2}


def test_what_retention_took_is_said_once() -> None:
    source = placed(MemorySource(make_record(offset) for offset in range(6)))
    source.delete_records(TEST_PARTITION, before=4)
    with pytest.raises(OffsetGone) as gone:
        source.poll(0)
    assert (gone.value.offset, gone.value.first_readable) == (0, 4)
    assert source.poll(0) == []
    source.seek(TEST_PARTITION, 4)
    assert read(source) == [4, 5]
    assert source.bounds(TEST_PARTITION) == (4, 6)
    source.delete_records(TEST_PARTITION, before=6)
    assert source.bounds(TEST_PARTITION) == (6, 6)


def test_records_are_found_by_offset_and_by_time() -> None:
    source = MemorySource(make_record(offset) for offset in (0, 1, 4))
    first, second = source.read_at(TEST_PARTITION, [1, 2]).values()
    assert first == make_record(1) and second is None
    assert source.offset_at(TEST_PARTITION, make_record(2).timestamp_ms) == 4
    assert source.offset_at(TEST_PARTITION, make_record(5).timestamp_ms) == 5
    assert list(source.readable_offsets(TEST_PARTITION, 1, 5)) == [1, 4]


def test_a_worker_reads_it_as_it_reads_a_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bad_media.healthy_chunk(bad_media.RECIPES[0])
    source = MemorySource([make_record(0, body), make_record(1, b"no media"), make_record(3, headers=())])
    monkeypatch.setattr("streamfx.runtime.build.open_source", lambda *_, **__: source)
    Worker(load_config(runs.tree(tmp_path, [tmp_path]))).run(until_idle_s=0.2)
    fates = {row["offset"]: row["fate"] for row in runs.rows(tmp_path / "data", "chunks")}
    assert fates == {0: "no_face", 1: "undecodable", 3: "undecodable"}
    assert source.committed == {TEST_PARTITION: 4}
