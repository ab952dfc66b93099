"""What a worker says of its load: the age of the oldest chunk, what waits and arrives, and what it gets through."""

from __future__ import annotations

import pytest

from streamfx.runtime import load
from streamfx.runtime.load import Pace, PartitionMeter


class Clock:
    """A clock that stands still unless it is told."""

    now = 1_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(load, "time", clock)
    return clock


def test_lag_is_the_age_of_the_oldest_that_waits_and_none_where_none_does(clock: Clock) -> None:
    meter = PartitionMeter()
    assert meter.lag_s() == 0
    meter.polled(980_000)
    meter.polled(990_000)
    assert meter.lag_s() == 20
    meter.took(2.0)
    assert meter.lag_s() == 10
    meter.dropped()
    assert meter.lag_s() == 0


def test_what_waits_in_the_broker_is_late_as_well(clock: Clock) -> None:
    meter = PartitionMeter()
    meter.polled(980_000)
    meter.took(2.0)
    meter.measure(behind=5)
    assert meter.lag_s() == 20
    assert meter.load(shared=False).waiting_s == 10


def test_what_arrives_is_what_was_done_and_what_more_waits(clock: Clock) -> None:
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


def test_a_backlog_that_was_there_is_no_arrival(clock: Clock) -> None:
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


def test_offsets_that_hold_no_records_do_not_wait_for_ever(clock: Clock) -> None:
    meter = PartitionMeter()
    meter.polled(990_000)
    meter.took(2.0)
    meter.measure(behind=1)
    assert meter.lag_s() == 10
    clock.now += 60
    meter.measure(behind=1)
    assert meter.lag_s() == 0 and meter.load(shared=True).waiting_s == 0


def test_a_worker_sustains_what_it_did_in_the_time_it_worked() -> None:
    pace = Pace()
    assert pace.sustains is None
    for _ in range(100):
        pace.note(media_s=2.0, busy_s=0.5)
    assert pace.sustains == pytest.approx(4.0, rel=0.02)
    for _ in range(100):
        pace.note(media_s=2.0, busy_s=2.0)
    assert pace.sustains == pytest.approx(1.0, rel=0.05)


def test_a_worker_says_what_part_of_its_time_it_waits() -> None:
    pace = Pace()
    assert pace.waits == 0
    for _ in range(100):
        pace.note(media_s=1.0, busy_s=1.0, waited_s=0.75)
    assert pace.waits == pytest.approx(0.75)
    for _ in range(300):
        pace.note(media_s=1.0, busy_s=1.0)
    assert pace.waits < 0.01
