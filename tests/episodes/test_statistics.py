"""What the episodes say together: seconds, shares that know how many tracks there were, and what follows what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamfx.episodes.intervals import SHOWING_MIN, TRACKS_MIN
from streamfx.episodes.statistics import shares_of, statistics


def rows(*stretches: tuple[str, str, float, float], measure: str = "expression") -> pd.DataFrame:
    """(track, value, start, end), seconds; and for each a stretch of its face."""
    made: list[dict[str, Any]] = []
    for track, value, start, end in stretches:
        times = {"episode_start": pd.Timestamp(start, unit="s"), "episode_end": pd.Timestamp(end, unit="s")}
        of = {"stream_id": "s", "track_id": track, **times, "seconds": float(end - start)}
        made += [{**of, "measure": measure, "value": value}, {**of, "measure": "face", "value": "seen"}]
    return pd.DataFrame(made)


def test_seconds_are_summed_and_what_is_not_known_is_said() -> None:
    table = pd.concat(
        [rows(("t", "anger", 0, 3), ("t", "unclear", 3, 4)), rows(("u", "inactive", 0, 2), measure="au_12")]
    )
    found = statistics(table)
    assert (found.seen_s, found.tracks) == (6.0, 2)
    assert found.measures["expression"].seconds == {"anger": 3.0, "unclear": 1.0}
    assert (found.measures["expression"].known_s, found.measures["expression"].missing_s) == (4.0, 2.0)
    assert found.measures["au_12"].seconds == {"inactive": 2.0}


def test_transitions_jump_over_no_gap_and_no_track_but_over_what_is_unclear() -> None:
    found = statistics(
        rows(
            *(("t", "anger", 0, 2), ("t", "unclear", 2, 3), ("t", "happiness", 3, 5)),
            *(("t", "neutral", 6, 7), ("t", "anger", 7, 8)),
            ("u", "fear", 8, 9),
        )
    )
    assert found.transitions == {"anger": {"happiness": 1}, "neutral": {"anger": 1}}


def test_too_few_tracks_give_no_number() -> None:
    few = statistics(rows(*((f"t{number}", "anger", 0, 2) for number in range(TRACKS_MIN - 1))))
    share = few.as_json()["measures"]["expression"]["values"]["anger"]
    assert share == {
        "seconds": 38.0,
        "episodes": 19,
        "tracks": 19,
        "tracks_showing": 19,
        "share": None,
        "why": "not enough data: 19 tracks, 20 are needed",
    }
    many = statistics(rows(*((f"t{number}", "anger", 0, 2) for number in range(TRACKS_MIN))))
    share = many.as_json()["measures"]["expression"]["values"]["anger"]
    assert (share["share"], share["low"], share["high"]) == (1.0, 1.0, 1.0)


def test_what_hardly_any_track_shows_has_no_share() -> None:
    parts = np.ones((100, 2))
    parts[SHOWING_MIN - 1 :, 0] = 0
    found = shares_of(parts, ["rare", "common"])
    assert found["rare"].estimate is None and found["rare"].why == "not enough data: 4 tracks show it, 5 are needed"
    assert found["common"].estimate is not None


def test_an_interval_is_over_tracks_however_long_each_is() -> None:
    random = np.random.default_rng(1)
    happy = random.random(200) < 0.4
    parts = np.stack([happy, ~happy], axis=1).astype(float)
    short, long = (shares_of(parts * seconds, ["happy", "other"])["happy"].estimate for seconds in (1, 1000))
    assert short is not None and long is not None
    assert (short.low, short.high) == (pytest.approx(long.low), pytest.approx(long.high))
    # The textbook's interval of a share of 200 independent ones.
    spread = 1.96 * (0.4 * 0.6 / 200) ** 0.5
    assert short.high - short.low == pytest.approx(2 * spread, rel=0.15)


def test_nine_in_ten_intervals_or_more_hold_the_truth() -> None:
    held = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        seconds, share = random.exponential(10, 40), random.beta(2, 3, 40)
        found = shares_of(np.stack([seconds * share, seconds * (1 - share)], axis=1), ["a", "b"])["a"].estimate
        assert found is not None
        held += found.low <= 0.4 <= found.high
    assert held >= 36


def test_no_rows_say_nothing() -> None:
    found = statistics(rows(("t", "anger", 0, 2)).iloc[:0]).as_json()
    assert (found["seen_s"], found["tracks"], found["measures"], found["transitions"]) == (0.0, 0, {}, {})
    assert "not what a person feels" in found["note"]
