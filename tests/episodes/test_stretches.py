"""Moments and stretches: no moment twice, none lost, none invented; and what is not known is in no stretch."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from helpers.crowds import START_US
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.config.episodes import Episodes
from streamfx.episodes.measures import measures_of
from streamfx.episodes.moments import DAY_US, moments
from streamfx.episodes.stretches import stretches
from streamfx.sink.erasure import Rule

EXPRESSION = measures_of({"expression": ("anger", "happiness"), "p_anger": (), "p_happiness": ()})
UNIT = measures_of({"au_12": (), "au_12_present": (), "au_45": ()})


def windows(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of one track; `at` and `long` are seconds after START_US."""
    made = []
    for row in rows:
        start = pd.Timestamp(START_US + round(row["at"] * 1e6), unit="us", tz="UTC")
        end = start + pd.Timedelta(seconds=row.get("long", 2.0))
        keys = {"stream_id": "s", "track_id": row.get("track", "t"), "config_id": row.get("config", "c")}
        happy = row.get("happy", 0.5)
        scores = {"p_happiness": happy, "p_anger": None if happy is None else 1 - happy}
        units = {"au_12": row.get("smile"), "au_12_present": row.get("acts")}
        seen = {"frames": row.get("frames", 16)}
        version = {"expression_model_version": row.get("version", "v1")}
        novelty = {"expression_novelty": row.get("novelty", 0.0)}
        made.append({**keys, "window_start": start, "window_end": end, **scores, **units, **version, **novelty, **seen})
    return pd.DataFrame(made)


def told(rows: list[dict[str, Any]], measure: str = "expression", **fields: Any) -> list[tuple[str, float, float]]:
    section = Episodes.model_validate({"least_s": 0.0, **fields})
    found = stretches(moments(windows(rows), START_US), EXPRESSION + UNIT, section)
    return [
        (row["value"], (row["episode_start"] - START_US) / 1e6, (row["episode_end"] - START_US) / 1e6)
        for row in found
        if row["measure"] == measure
    ]


def at(*happy: float | None, **fields: Any) -> list[dict[str, Any]]:
    """A window each second, with this probability of happiness."""
    return [{"at": second, "happy": p, **fields} for second, p in enumerate(happy)]


starts = st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0.5, 1.0, 2.0, 3.5])), min_size=1, max_size=25)


@settings(deadline=None)
@given(starts)
def test_the_moments_of_a_track_are_its_windows_time_each_once(drawn: list[tuple[int, float]]) -> None:
    rows = [{"at": start / 2, "long": long} for start, long in drawn]
    found = moments(windows(rows), START_US).sort_values("start_us")
    covered = {tick for row in rows for tick in range(round(row["at"] * 4), round((row["at"] + row["long"]) * 4))}
    # Of two windows that start at once, only one speaks.
    kept = {(row["at"]): row["long"] for row in reversed(rows)}
    if len(kept) == len(rows) and len({row["long"] for row in rows}) == 1:
        assert (found["end_us"] - found["start_us"]).sum() == len(covered) * 250_000
    assert (found["start_us"].to_numpy()[1:] >= found["end_us"].to_numpy()[:-1]).all()


def test_a_gap_ends_an_episode_and_its_border_is_not_seen() -> None:
    rows = [*at(0.9, 0.9), {"at": 5, "happy": 0.9}]
    assert told(rows) == [("happiness", 0, 3), ("happiness", 5, 7)]


def test_at_the_edges_of_a_run_a_window_speaks_for_what_was_seen() -> None:
    rows = [{"at": 0, "happy": 0.9, "frames": 8}, {"at": 1, "happy": 0.9}, {"at": 2, "happy": 0.9, "frames": 12}]
    assert told(rows) == [("happiness", 1, 3.5)]
    assert told([{"at": 0, "happy": 0.9, "frames": 8}]) == [("happiness", 0.5, 1.5)]


def test_windows_that_only_touch_are_no_gap() -> None:
    assert told([{"at": 0, "happy": 0.9}, {"at": 2, "happy": 0.9}]) == [("happiness", 0, 4)]


def test_another_configuration_or_model_ends_a_run() -> None:
    rows = [{"at": 0, "happy": 0.9}, {"at": 1, "happy": 0.9, "config": "d"}, {"at": 2, "happy": 0.9, "version": "v2"}]
    assert told(rows) == [("happiness", 0, 1.5), ("happiness", 1.5, 2.5), ("happiness", 2.5, 4)]


def test_of_a_window_under_two_configurations_one_counts() -> None:
    rows = [{"at": 0, "happy": 0.9, "config": "d"}, {"at": 0, "happy": 0.1, "config": "c"}]
    assert told(rows) == [("anger", 0, 2)]


def test_the_day_ends_a_run_at_midnight() -> None:
    late = DAY_US / 1e6 - 1
    assert told([{"at": late, "happy": 0.9}]) == [("happiness", late, late + 1)]


def test_what_is_not_known_is_in_no_stretch() -> None:
    assert told(at(0.9, None, 0.9)) == [("happiness", 0, 1.5), ("happiness", 2.5, 4)]
    rows = [*at(0.9), {"at": 1, "happy": 0.9, "novelty": 0.9}]
    assert told(rows) == [("happiness", 0, 1.5)]
    assert told(rows, "face") == [("seen", 0, 3)]


def test_a_unit_without_a_value_is_not_inactive() -> None:
    rows = [{"at": 0, "acts": False, "smile": 0.1}, {"at": 1, "acts": True, "smile": 2.0}, {"at": 2}]
    assert told(rows, "au_12") == [("inactive", 0, 1.5), ("active", 1.5, 2.5)]
    # One window is not enough for the hidden Markov model to leave its state; what is unknown stays so.
    assert told(rows, "au_12", smoother="hmm") == [("inactive", 0, 2.5)]


def test_a_unit_whose_model_tells_no_presence_has_no_episodes() -> None:
    assert [measure.name for measure in UNIT] == ["au_12"]


def test_mean_and_peak_are_those_of_the_episode() -> None:
    rows = [{"at": second, "acts": True, "smile": smile} for second, smile in enumerate((1.0, 4.0, 2.0))]
    (active,) = [
        row for row in stretches(moments(windows(rows), START_US), UNIT, Episodes()) if row["measure"] == "au_12"
    ]
    # The windows at the edges speak for a second and a half, the one between for a second.
    assert active["mean"] == pytest.approx((1.5 * 1 + 1 * 4 + 1.5 * 2) / 4)
    assert (active["peak"], active["apex_time"]) == (4.0, START_US + 2_000_000)
    assert (active["start_seen"], active["end_seen"]) == (False, False)


def test_hysteresis_holds_an_expression_between_its_two_thresholds() -> None:
    assert told(at(0.5, 0.9, 0.45, 0.9, 0.1)) == [("unclear", 0, 1.5), ("happiness", 1.5, 4.5), ("anger", 4.5, 6)]


def test_what_is_short_does_not_count_unless_it_is_cut() -> None:
    hurried = [{**row, "at": row["at"] / 2} for row in at(0.9, 0.9, 0.9, 0.5, 0.9, 0.9, 0.9)]
    assert told(hurried, leave=0.6) == [("happiness", 0, 2.25), ("unclear", 2.25, 2.75), ("happiness", 2.75, 5)]
    assert told(hurried, leave=0.6, least_s=1.0) == [("happiness", 0, 5)]
    flash = [{**row, "at": row["at"] / 2} for row in at(0.5, 0.5, 0.9, 0.5, 0.5)]
    assert told(flash, leave=0.6, least_s=1.0) == [("unclear", 0, 4)]
    cut = [{**row, "at": row["at"] / 2} for row in at(0.9, 0.5, 0.5)]
    assert told(cut, leave=0.6, least_s=2.0)[0] == ("happiness", 0, 1.25)


def test_a_rule_of_erasure_between_two_windows_ends_the_run() -> None:
    of = windows(at(0.9, 0.9))
    rule = Rule(frozenset({"s"}), START_US + 400_000, START_US + 600_000)
    assert moments(of, START_US, [rule])["run"].nunique() == 2
    assert moments(of, START_US, [Rule(frozenset({"other"}), None, START_US)])["run"].nunique() == 1
    assert moments(of, START_US, [Rule(frozenset({"s"}), None, START_US)])["run"].nunique() == 1


def test_nothing_seen_is_nothing_said() -> None:
    assert told([{"at": 0, "happy": None}]) == []
    assert list(stretches(moments(windows(at(0.9)).iloc[:0], START_US), EXPRESSION, Episodes())) == []
