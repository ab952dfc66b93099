"""Deaths of workers count for an hour, so that rare deaths do not end a run of weeks."""

from __future__ import annotations

from streamfx.runtime.deaths import WINDOW_S, Deaths


def test_a_death_a_week_never_adds_up() -> None:
    deaths = Deaths()
    assert {deaths.note(week * 7 * 86_400.0) for week in range(5_000)} == {1}


def test_deaths_in_quick_succession_add_up() -> None:
    deaths = Deaths()
    assert [deaths.note(10.0 * n) for n in range(5)] == [1, 2, 3, 4, 5]


def test_a_death_counts_for_exactly_an_hour() -> None:
    deaths = Deaths()
    deaths.note(0.0)
    assert deaths.note(WINDOW_S - 1) == 2
    assert deaths.note(WINDOW_S) == 2
