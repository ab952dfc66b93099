"""Noise: what a release spends is what OpenDP accounts for, one track counts within bounds, and the budget holds."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from helpers.crowds import DAY_US, HOUR_US, START_US, crowd, order, table, write
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.aggregate.noise import Mechanism, bounded, sums
from streamfx.aggregate.release import release
from streamfx.cli.main import main
from streamfx.errors import ConfigError, PrivacyRefusal
from streamfx.sink.derived import DerivedLog
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.verify import verify
from streamfx.testing import TEST_KEY

LOUD = {"laplace": {"epsilon": 0.5, "budget": 1.0}}
QUIET = {"laplace": {"epsilon": 90.0, "budget": 180.0}, "track_cells": 4}
"""So little noise that a cell of many tracks is shown."""
KEY = ["bin", "group", "measure", "value"]


def entries(place: Path) -> int:
    return len(list((place / "_commits/~aggregates@/0").glob("*.json")))


@st.composite
def contributions(draw: st.DrawFn) -> pd.DataFrame:
    """What tracks add to cells, each at most once to each."""
    keys = draw(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 2), st.sampled_from("abc")), max_size=40))
    rows = [(f"t{track}", at, "all", "m", value) for track, at, value in sorted(keys)]
    ms = [draw(st.integers(1, 5000)) for _ in rows]
    frame = pd.DataFrame(rows, columns=["track", *KEY]).assign(ms=ms)
    return frame.assign(weighted=frame["ms"] * 0.5, weighted_ms=frame["ms"])


@settings(max_examples=60, deadline=None)
@given(contributions(), st.integers(1, 4), st.integers(1, 3000), st.integers(0, 5))
def test_one_track_more_changes_the_sums_by_no_more_than_the_bounds(
    parts: pd.DataFrame, cells: int, ms: int, track: int
) -> None:
    """The sensitivity that the noise is made for: of all numbers together, with and without any one track."""
    mechanism = Mechanism("laplace", Decimal(1), cells, ms)
    domain = [(at, "all", "m", value) for at in range(3) for value in "abc"]

    def of(rows: pd.DataFrame) -> list[Any]:
        return list(sums(bounded(rows, mechanism), domain, [1.0] * len(domain)))

    apart = [abs(a - b) for a, b in zip(of(parts), of(parts[parts["track"] != f"t{track}"]), strict=True)]
    for change, most in zip(apart, (1, ms, ms), strict=True):
        assert change.sum() <= most * cells
        assert math.sqrt((change**2).sum()) <= most * math.sqrt(cells) + 1e-9


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
def test_the_noise_has_the_stated_width(kind: str) -> None:
    mechanism = Mechanism(kind, Decimal("0.9"), 4, 1000)
    zeros = np.zeros(1000, np.int64)
    tracks, ms, _ = mechanism.add(zeros, zeros, zeros[:1])
    # 1000 draws have a standard deviation within a quarter of the true one, but once in more than 10^6 times.
    assert np.std(tracks) == pytest.approx(mechanism.sd(mechanism.tracks_scale), rel=0.25)
    assert np.std(ms) == pytest.approx(mechanism.sd(mechanism.ms_scale), rel=0.25)


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
def test_a_cell_below_k_reaches_the_threshold_as_seldom_as_is_said(kind: str) -> None:
    mechanism, k, below = Mechanism(kind, Decimal("0.09"), 4, 1000), 10, 0.1
    zeros = np.zeros(1000, np.int64)
    tracks, _, _ = mechanism.add(zeros + k - 1, zeros[:1], zeros[:1])
    share = float(np.mean(tracks >= mechanism.at_least(k, below)))
    # Within 5 standard deviations of a share of 1000 draws: the threshold is not far above what it must be either.
    assert 0.04 < share < below + 5 * math.sqrt(below / len(zeros))


def test_a_wider_account_than_the_charge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfx.aggregate.noise._ABOVE", 0.9)
    zeros = np.zeros(1, np.int64)
    with pytest.raises(PrivacyRefusal, match="OpenDP accounts"):
        Mechanism("laplace", Decimal(1), 4, 1000).add(zeros, zeros, zeros)


# ------------------------------------------------------------------------------------------------ in a dataset


def test_noisy_cells_are_rows_that_say_how_noisy_they_are(place: Path) -> None:
    write(place, [*crowd(range(60)), *crowd(range(60, 120), "happiness")])
    done = release(order(place, end_us=START_US + 2 * HOUR_US, noise=QUIET))
    rows = table(place)
    assert (done.spent, done.budget) == (Decimal("90.0"), Decimal("180.0"))
    shown = Counter((row["measure"], row["value"]) for row in rows)
    assert shown.keys() >= {("faces", "all"), ("expression", "neutral"), ("expression", "happiness")}
    faces = next(row for row in rows if row["measure"] == "faces")
    assert faces["noise"] == "laplace"
    assert faces["tracks_sd"] == pytest.approx(math.sqrt(2) * 4 / 30, rel=1e-6)
    assert faces["tracks"] == pytest.approx(120, abs=20 * faces["tracks_sd"])
    assert faces["face_seconds"] == pytest.approx(360, abs=20 * faces["face_seconds_sd"])
    neutral = next(row for row in rows if row["value"] == "neutral")
    assert 0 <= neutral["mean"] <= 1
    assert verify(place).ok


def test_repeated_calls_spend_until_the_budget_ends_and_what_is_refused_writes_nothing(place: Path) -> None:
    write(place, crowd(range(30)))
    for hour in range(2):
        release(order(place, start_us=START_US + hour * HOUR_US, end_us=START_US + (hour + 1) * HOUR_US, noise=LOUD))
    before = sorted(path for path in place.rglob("*"))
    third = order(place, start_us=START_US + 2 * HOUR_US, end_us=START_US + 3 * HOUR_US, noise=LOUD)
    with pytest.raises(PrivacyRefusal, match=r"epsilon that is spent of a salt period to 1\.5, and the budget is 1\.0"):
        release(third)
    assert sorted(path for path in place.rglob("*")) == before
    # Another salt period has a budget of its own.
    next_day = order(place, start_us=START_US + DAY_US, end_us=START_US + DAY_US + HOUR_US, noise=LOUD)
    assert release(next_day).spent == Decimal("0.5")


def test_a_call_that_is_repeated_draws_no_noise_and_spends_nothing(place: Path) -> None:
    write(place, crowd(range(60)))
    again = order(place, end_us=START_US + HOUR_US, noise=QUIET)
    release(again)
    rows, count = table(place), entries(place)
    assert release(again).bins == 0
    assert (table(place), entries(place)) == (rows, count)


def test_of_two_callers_with_budget_for_one_the_second_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the same account; the other one commits just before this one does."""
    write(place, crowd(range(30)))
    noise = {"laplace": {"epsilon": 0.6, "budget": 1.0}}
    commit = DerivedLog.commit

    def overtaken(self: DerivedLog, *args: Any) -> bool:
        monkeypatch.setattr(DerivedLog, "commit", commit)
        release(order(place, start_us=START_US + HOUR_US, end_us=START_US + 2 * HOUR_US, noise=noise))
        return commit(self, *args)

    monkeypatch.setattr(DerivedLog, "commit", overtaken)
    with pytest.raises(PrivacyRefusal, match="nothing was published"):
        release(order(place, end_us=START_US + HOUR_US, noise=noise))
    assert entries(place) == 1
    assert verify(place).ok


@pytest.mark.parametrize("change", [{"start_us": None}, {"end_us": None}])
def test_noise_needs_a_range_that_does_not_follow_from_the_rows(place: Path, change: dict[str, None]) -> None:
    write(place, crowd(range(4)))
    with pytest.raises(ConfigError, match="give --from and --to"):
        release(order(place, noise=LOUD, **change))


@pytest.mark.parametrize(("first", "second"), [(None, LOUD), (LOUD, None)])
def test_exact_and_noisy_numbers_do_not_lie_in_one_dataset(place: Path, first: Any, second: Any) -> None:
    write(place, crowd(range(4)))
    release(order(place, end_us=START_US + HOUR_US, noise=first))
    with pytest.raises(PrivacyRefusal, match="would undo the noise"):
        release(order(place, start_us=START_US + HOUR_US, noise=second))


def test_the_command_says_what_is_spent(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(30)))
    (tmp_path / "key").write_bytes(TEST_KEY)
    (tmp_path / "groups.csv").write_text("stream,group\nhall,inside\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"source: {{files: {{paths: [{tmp_path}]}}}}\n"
        f"privacy: {{purpose: test, deployment_context: research, stream_id_key_file: {tmp_path / 'key'}}}\n"
        f"sink: {{path: {place}}}\n"
        f"aggregate: {{groups_file: {tmp_path / 'groups.csv'}, noise: {{gaussian: {{rho: 0.1, budget: 0.15}}}}}}\n"
    )
    first = ["aggregate", str(config), "--from", "2023-11-14T00:00:00Z", "--to", "2023-11-14T01:00:00Z"]
    done = CliRunner().invoke(main, first)
    assert done.exit_code == 0, done.output
    # rho + 2 sqrt(rho ln(1/delta))
    assert "rho 0.1 of 0.15 is spent in the salt period of the most: (2.45, 1e-06)-differential privacy" in done.output
    second = CliRunner().invoke(main, [*first[:-3], "2023-11-14T01:00:00Z", "--to", "2023-11-14T02:00:00Z"])
    assert (second.exit_code, "the budget is 0.15; nothing was published" in second.output) == (1, True), second.output
    assert LocalFileSystem(place).exists("_commits/~aggregates@/0")
