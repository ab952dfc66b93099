"""A partition's line: which chunks it refuses before they affect their stream, and when it commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamfx.records import Record
from streamfx.runtime.line import MOST_AHEAD_S, PartitionLine

OpenLine = Callable[..., tuple[PartitionLine, Any]]
DAY_US = 86_400_000_000
START_US = 1_767_323_045_000_000


def chunk_of(record: Record, offset: int, stream: str, seq: int, start_us: int, end: bool = False) -> Record:
    """The record's media as another chunk, appended by the broker at the time of its start."""
    by_name = {"streamfx-stream-id": stream, "streamfx-seq": str(seq), "streamfx-start-us": str(start_us)}
    by_name |= {"content-type": "video/mp4"} | ({"streamfx-end": "1"} if end else {})
    headers = tuple((name, text.encode()) for name, text in by_name.items())
    return replace(record, offset=offset, timestamp_ms=start_us // 1000, key=stream.encode(), headers=headers)


def fates(line: PartitionLine) -> list[tuple[str, str | None]]:
    return [(row.values["fate"], row.values["reason"]) for row in line.pending.chunk_rows]


def test_a_chunk_from_the_future_is_refused_and_its_stream_continues(opened: OpenLine) -> None:
    line, record = opened(stamped_on_append=True)
    line.process(chunk_of(record, 0, "s", 0, START_US))
    ahead = chunk_of(record, 1, "s", 1, START_US + 3650 * DAY_US)
    line.process(replace(ahead, timestamp_ms=START_US // 1000 + 2_000))
    line.process(chunk_of(record, 2, "s", 2, START_US + 4_000_000))
    assert [fate for fate, _ in fates(line)] == ["no_face", "undecodable", "no_face"]
    assert fates(line)[1][1] == "start_in_future"
    assert line.book.live["s"].watermark_us < START_US + DAY_US


def test_an_event_time_off_by_a_time_zone_is_accepted(opened: OpenLine) -> None:
    line, record = opened(stamped_on_append=True)
    ahead = chunk_of(record, 0, "s", 0, START_US)
    line.process(replace(ahead, timestamp_ms=START_US // 1000 - MOST_AHEAD_S * 1000))
    assert fates(line)[0][0] == "no_face"


def test_a_last_chunk_from_the_future_still_ends_its_stream(opened: OpenLine) -> None:
    line, record = opened(stamped_on_append=True)
    line.process(chunk_of(record, 0, "s", 0, START_US))
    ahead = chunk_of(record, 1, "s", 1, START_US + 3650 * DAY_US, end=True)
    line.process(replace(ahead, timestamp_ms=START_US // 1000 + 2_000))
    assert fates(line)[1] == ("undecodable", "start_in_future") and not line.book.live


def test_event_times_are_not_judged_without_log_append_times(opened: OpenLine) -> None:
    line, record = opened()
    line.process(replace(chunk_of(record, 0, "s", 0, START_US + 3650 * DAY_US), timestamp_ms=START_US // 1000))
    assert fates(line)[0][0] == "no_face"


def test_streams_that_are_years_apart_do_not_commit_every_chunk(opened: OpenLine) -> None:
    line, record = opened()
    for offset in range(8):
        line.process(chunk_of(record, offset, f"s{offset % 2}", offset // 2, START_US + offset % 2 * 3650 * DAY_US))
        assert not line.due(idle=False)


def test_a_stream_whose_event_time_spans_more_than_allowed_is_committed(opened: OpenLine) -> None:
    line, record = opened()
    span_us = round(line.parts.config.sink.roll_event_s * 1e6)
    line.process(chunk_of(record, 0, "s", 0, START_US))
    assert not line.due(idle=False)
    line.process(chunk_of(record, 1, "s", 1, START_US + span_us))
    assert line.due(idle=False)
