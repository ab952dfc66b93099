"""A worker's report of its load: age of the oldest chunk, waiting and arriving media, and its sustained rate."""

from __future__ import annotations

import pytest

from streamfx.runtime import load
from streamfx.runtime.load import Pace, PartitionMeter


class Clock:
    """A clock that stands still unless it is set."""

    now = 1_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(load, "time", clock)
    return clock


def test_lag_is_the_age_of_the_oldest_waiting_chunk_or_none(clock: Clock) -> None:
    meter = PartitionMeter()
    assert meter.lag_s() == 0
    meter.polled(980_000)
    meter.polled(990_000)
    assert meter.lag_s() == 20
    meter.took(2.0)
    assert meter.lag_s() == 10
    meter.dropped()
    assert meter.lag_s() == 0


def test_chunks_that_wait_in_the_broker_count_for_lag(clock: Clock) -> None:
    meter = PartitionMeter()
    meter.polled(980_000)
    meter.took(2.0)
    meter.measure(behind=5)
    assert meter.lag_s() == 20
    assert meter.load(shared=False).waiting_s == 10


def test_arrivals_are_processed_media_plus_the_growth_of_the_backlog(clock: Clock) -> None:
    meter = PartitionMeter()
    meter.polled(990_000)
    meter.took(2.0)
    meter.measure(behind=0)
    for _ in range(60):
        clock.now += 5
        meter.polled(round(clock.now * 1000))
        meter.took(2.0)
        meter.measure(behind=0)
    assert meter.load(shared=False).arriving == pytest.approx(0.4, rel=0.01)


def test_an_initial_backlog_does_not_count_as_arrival(clock: Clock) -> None:
    meter = PartitionMeter()
    meter.measure(behind=1000)
    clock.now += 5
    meter.polled(990_000)
    meter.took(2.0)
    meter.measure(behind=999)
    clock.now += 5
    meter.polled(990_000)
    meter.took(2.0)
    meter.measure(behind=998)
    assert meter.load(shared=False).arriving == 0
    assert meter.load(shared=False).waiting_s == 1996


def test_offsets_without_records_do_not_count_as_waiting_forever(clock: Clock) -> None:
    meter = PartitionMeter()
    meter.polled(990_000)
    meter.took(2.0)
    meter.measure(behind=1)
    assert meter.lag_s() == 10
    clock.now += 60
    meter.measure(behind=1)
    assert meter.lag_s() == 0 and meter.load(shared=True).waiting_s == 0


def test_a_workers_sustained_rate_is_media_per_working_time() -> None:
    pace = Pace()
    assert pace.sustains is None
    for _ in range(100):
        pace.note(media_s=2.0, busy_s=0.5)
    assert pace.sustains == pytest.approx(4.0, rel=0.02)
    for _ in range(100):
        pace.note(media_s=2.0, busy_s=2.0)
    assert pace.sustains == pytest.approx(1.0, rel=0.05)


def test_a_worker_reports_the_share_of_time_that_it_waits() -> None:
    pace = Pace()
    assert pace.waits == 0
    for _ in range(100):
        pace.note(media_s=1.0, busy_s=1.0, waited_s=0.75)
    assert pace.waits == pytest.approx(0.75)
    for _ in range(300):
        pace.note(media_s=1.0, busy_s=1.0)
    assert pace.waits < 0.01
