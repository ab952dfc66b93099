"""What the report counts of chunks: fates, coverage, gaps, skipped numbers and delays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfx.report.chunks import DELAY_EDGES_S, Chunks, quantile

S = 1_000_000


def chunk(start_s: float, seconds: float = 2, **fields: Any) -> dict[str, Any]:
    """A chunk of the stream `a`, appended half a second after its end."""
    times = {"chunk_start": start_s, "chunk_end": start_s + seconds, "append_time": start_s + seconds + 0.5}
    values = {"stream_id": "a", "seq": None, "fate": "processed", "reason": None, "bytes": 100, **times, **fields}
    return {
        k: pd.Timestamp(v * 1e9, unit="ns", tz="UTC") if k in times and v is not None else v for k, v in values.items()
    }


def counted(*days: list[dict[str, Any]]) -> Chunks:
    chunks = Chunks()
    for rows in days:
        frame = pd.DataFrame(rows)
        for name in ("chunk_start", "chunk_end", "append_time"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
        chunks.add(frame)
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


@given(st.lists(st.floats(0, 80_000), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_class_of_the_true_one(delays_s: list[float], share: float) -> None:
    classes = np.searchsorted(DELAY_EDGES_S, delays_s, side="right") - 1
    counts = np.bincount(classes, minlength=len(DELAY_EDGES_S)).astype(float)
    found, true = quantile(share, counts), float(np.quantile(delays_s, share, method="inverted_cdf"))
    at = np.searchsorted(DELAY_EDGES_S, true, side="right") - 1
    assert found is not None and DELAY_EDGES_S[at] - 1e-6 <= found <= DELAY_EDGES_S[at + 1] + 1e-6


def test_without_chunks_there_is_no_delay() -> None:
    assert quantile(0.5, np.zeros(len(DELAY_EDGES_S))) is None
    assert quantile(0.5, np.eye(len(DELAY_EDGES_S))[-1]) == pytest.approx(86_400)
