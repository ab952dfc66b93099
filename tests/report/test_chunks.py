"""What the report counts of chunks: fates, coverage, gaps, skipped numbers and delays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.datasets import PARTITION, Maker
from hypothesis import given
from hypothesis import strategies as st

from streamfx.report import commits
from streamfx.report.chunks import DELAY_EDGES_S, Chunks, quantile
from streamfx.report.commits import UNKNOWN_US, CommitTimes
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import compact

S = 1_000_000


def chunk(start_s: float, seconds: float = 2, **fields: Any) -> dict[str, Any]:
    """A chunk of the stream `a`, appended half a second after its end."""
    times = {"chunk_start": start_s, "chunk_end": start_s + seconds, "append_time": start_s + seconds + 0.5}
    values = {
        "offset": 0,
        "stream_id": "a",
        "seq": None,
        "fate": "processed",
        "reason": None,
        "bytes": 100,
        **times,
        **fields,
    }
    return {
        k: pd.Timestamp(v * 1e9, unit="ns", tz="UTC") if k in times and v is not None else v for k, v in values.items()
    }


def counted(*days: list[dict[str, Any]], committed_us: Sequence[int] = ()) -> Chunks:
    chunks = Chunks()
    for rows in days:
        frame = pd.DataFrame(rows)
        for name in ("chunk_start", "chunk_end", "append_time"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
        chunks.add(frame, np.asarray(committed_us if committed_us else [UNKNOWN_US] * len(frame), np.int64))
    return chunks


def test_fates_are_counted_with_their_reasons() -> None:
    bad = chunk(4, fate="undecodable", reason="no_keyframe", chunk_end=None)
    chunks = counted([chunk(0), chunk(2), bad])
    assert chunks.fates == {("processed", ""): 2, ("undecodable", "no_keyframe"): 1} and chunks.bytes == 300
    assert chunks.covered.total.tolist() == [4.0, 4.0], "what was not decoded covers nothing"


def test_a_gap_is_time_between_decoded_chunks_of_one_stream() -> None:
    chunks = counted([chunk(0), chunk(2), chunk(10), chunk(100, stream_id="b")])
    (gap,) = chunks.longest
    assert (chunks.gaps, gap.seconds, gap.stream, gap.start_us) == (1, 6.0, "a", 4 * S)


def test_a_gap_between_days_counts_and_a_late_chunk_fills_one_of_its_day() -> None:
    assert counted([chunk(0)], [chunk(50)]).gap_s == 48.0
    assert counted([chunk(0), chunk(4), chunk(2)]).gaps == 0


def test_less_than_a_second_is_no_gap() -> None:
    assert counted([chunk(0), chunk(2.9)]).gaps == 0


def test_skipped_numbers_are_counted_and_a_count_anew_is_not() -> None:
    days = [[chunk(0, seq=0), chunk(2, seq=1), chunk(8, seq=4)], [chunk(10, seq=7)], [chunk(12, seq=0)]]
    assert counted(*days).skipped == 2 + 2


def test_delays_of_files_are_not_known() -> None:
    assert len(counted([chunk(0, append_time=0)]).delays.bins) == 0


def test_waits_are_from_append_to_commit_and_totals_from_the_chunks_end() -> None:
    chunks = counted([chunk(0), chunk(2)], committed_us=[4 * S, UNKNOWN_US])
    assert quantile(1.0, chunks.waits.total) == pytest.approx(1.5, rel=0.1), "appended at 2.5 s, committed 1.5 s later"
    assert quantile(1.0, chunks.totals.total) == pytest.approx(2.0, rel=0.1), "ended at 2 s"
    assert (chunks.waits.total.sum(), chunks.delays.total.sum()) == (1, 2)


def test_a_commit_that_seems_a_moment_early_waited_no_time_and_one_far_too_early_is_not_counted() -> None:
    assert counted([chunk(0)], committed_us=[2 * S]).waits.total[0] == 1
    assert len(counted([chunk(0)], committed_us=[S]).waits.bins) == 0


def test_the_log_says_when_offsets_were_committed_also_after_files_were_merged(tmp_path: Path) -> None:
    maker = Maker(tmp_path / "data")
    maker.commit(0, 3)
    maker.commit(3, 5)
    fs = LocalFileSystem(tmp_path / "data")
    before = CommitTimes(fs, "data", PARTITION).of(np.arange(-1, 6))
    assert compact(fs, "data").before
    after = CommitTimes(fs, "data", PARTITION).of(np.arange(-1, 6))
    assert list(before) == list(after) and list(before[[0, 6]]) == [UNKNOWN_US] * 2
    assert len({int(time) for time in before[1:4]}) == len({int(time) for time in before[4:6]}) == 1
    assert before[1] <= before[4] and abs(before[1] / S - time.time()) < 3600


def test_of_a_long_log_some_entries_are_read_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "ENTRIES_MAX", 4)
    maker = Maker(tmp_path / "data")
    for offset in range(10):
        maker.commit(offset, offset + 1)
    found = CommitTimes(LocalFileSystem(tmp_path / "data"), "data", PARTITION).of(np.arange(10))
    assert [at for at, time_us in enumerate(found) if time_us != UNKNOWN_US] == [0, 3, 6, 9]


def test_an_entry_without_a_time_leaves_its_chunks_unknown() -> None:
    assert commits._us("") == UNKNOWN_US and commits._us("2026-01-01T00:00:00.250+00:00") == 1_767_225_600_250_000


@given(st.lists(st.floats(0, 80_000), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_off_by_a_tenth_at_most(delays_s: list[float], share: float) -> None:
    classes = np.searchsorted(DELAY_EDGES_S, delays_s, side="right") - 1
    counts = np.bincount(classes, minlength=len(DELAY_EDGES_S)).astype(float)
    found, true = quantile(share, counts), float(np.quantile(delays_s, share, method="inverted_cdf"))
    assert found == pytest.approx(true, rel=0.1, abs=0.05)


def test_without_chunks_there_is_no_delay() -> None:
    assert quantile(0.5, np.zeros(len(DELAY_EDGES_S))) is None
    assert quantile(0.5, np.eye(len(DELAY_EDGES_S))[-1]) == pytest.approx(86_400)
