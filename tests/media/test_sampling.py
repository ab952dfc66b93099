"""The invariants of the sampling grid and of the sample counter."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from streamfx.media.sampling import MAX_SHOWN_US, choose, sample_points, shown_us
from streamfx.media.sound import SampleCounter

TIME_US = st.integers(-(10**17), 10**17)
PERIOD_US = st.integers(16_667, 10**7)


@given(TIME_US, st.integers(0, MAX_SHOWN_US), PERIOD_US)
def test_a_frame_has_the_grid_points_of_its_time(time_us: int, duration_us: int, period_us: int) -> None:
    points = sample_points(time_us, duration_us, period_us)
    assert all(time_us <= p < time_us + duration_us and (p - period_us // 2) % period_us == 0 for p in points)
    assert duration_us // period_us <= len(points) <= duration_us // period_us + 1


@given(TIME_US, st.lists(st.integers(1, 2 * MAX_SHOWN_US), min_size=1, max_size=30), PERIOD_US, st.data())
def test_a_point_belongs_to_one_frame_wherever_chunks_are_cut(
    start_us: int, spans_us: list[int], period_us: int, data: st.DataObject
) -> None:
    times = [start_us + sum(spans_us[:i]) for i in range(len(spans_us))]

    def chosen(first: int, end: int) -> list[tuple[int, int]]:
        durations = shown_us(times[first:end], spans_us[end - 1])
        return [(first + i, p) for i, points in choose(times[first:end], durations, period_us) for p in points]

    whole = chosen(0, len(times))
    cut = data.draw(st.integers(1, len(times)))
    parts = chosen(0, cut) + (chosen(cut, len(times)) if cut < len(times) else [])
    assert parts == whole
    assert len({p for _, p in whole}) == len(whole)


@given(st.sampled_from([8000, 16000, 22050, 44100, 48000]), st.lists(st.integers(1, 4096), min_size=1, max_size=200))
def test_rounded_timestamps_cause_no_gaps(rate: int, runs: list[int]) -> None:
    """With timestamps in milliseconds, as in Matroska, every sample is still counted once."""
    counter = SampleCounter(rate)
    at = 0
    for samples in runs:
        assert counter.place(Fraction(round(at * 1000 / rate), 1000), samples) == at
        at += samples
        assert counter.next == at


def test_a_jump_of_the_clock_moves_the_count() -> None:
    counter = SampleCounter(1000)
    assert counter.place(Fraction(1, 2), 100) == 500
    assert counter.place(None, 100) == 600
    assert counter.place(Fraction(2), 100) == 2000
    assert counter.place(Fraction(1), 100) == 1000
