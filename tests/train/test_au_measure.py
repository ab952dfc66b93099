"""Measuring action units: windows of drawn clips are smoothed, nulled and compared as the line does it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.action_units import UNITS, action_units_model
from streamfx_operators.action_units import ActionUnits

from streamfx.config.serving import Serving
from streamfx.serving.client import open_model
from streamfx.synth.actions import AUS
from streamfx.testing import make_context
from streamfx.train.au_measure import report_on, windows_of
from streamfx.train.au_sets import AuExamples

CLIPS = 6


def examples(intensity: np.ndarray) -> AuExamples:  # type: ignore[type-arg]
    """Four frames of each clip, of two people in turn; clip 1 is a covered face."""
    number = np.arange(CLIPS * 4) // 4
    kinds = np.where(number == 1, "occluded", "frontal")
    groups = pd.DataFrame({"kind": kinds, "pose": "frontal", "sex": "female"})
    at = [AUS.index(unit) for unit in UNITS]
    people, clips = (number % 2).astype(str), number.astype(str)
    return AuExamples(UNITS, intensity[:, at] >= 1, intensity, people, clips, groups, 1.0, None)


@pytest.fixture
def drawn() -> AuExamples:
    rng = np.random.default_rng(0)
    return examples(rng.uniform(0, 3, (CLIPS * 4, len(AUS))).astype(np.float32))


def said_of(drawn: AuExamples, novel: dict[int, int]) -> dict[str, Any]:
    """Any probabilities; of the clips in `novel` that many frames are novel."""
    rng = np.random.default_rng(1)
    novelty = np.full(len(drawn), 0.5)
    for clip, frames in novel.items():
        novelty[4 * clip : 4 * clip + frames] = 1.5
    return {"presence": rng.uniform(0.3, 0.9, (len(drawn), 3)), "novelty": novelty}


def test_a_window_is_smoothed_and_nulled_as_in_the_line(drawn: AuExamples, tmp_path: Path) -> None:
    said = said_of(drawn, {1: 3, 2: 1, 3: 2})
    found = windows_of(drawn, said)
    assert found.kept.tolist() == [True, False, True, True, True, True]
    assert found.people.tolist() == ["0", "0", "1", "0", "1"]
    context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
    operator = ActionUnits(ActionUnits.Config(model=str(action_units_model(tmp_path / "m"))), context)
    logits = np.log(said["presence"] / (1 - said["presence"]))
    written = []
    for clip in range(CLIPS):
        rows = np.repeat(np.arange(4 * clip, 4 * clip + 4), 4)
        answer = {"presence": logits[rows], "novelty": said["novelty"][rows], "intensity": drawn.intensity[rows][:, :3]}  # type: ignore[index]
        values = operator.values(answer, np.ones(16, bool))
        if "au_12_present" in values:
            written.append([values["au_01_present"], values["au_12_present"]])
    assert (found.presence[:, [0, 2]] >= 0.6).tolist() == written, "the card's thresholds are 0.6"


def test_a_unit_is_there_in_a_window_where_its_smoothed_intensity_counts_as_present(drawn: AuExamples) -> None:
    """The first and the last frame count less than those in the middle."""
    intensity = np.zeros((CLIPS * 4, len(AUS)), np.float32)
    intensity[[1, 2], AUS.index("au_04")] = 1.5
    intensity[[4, 7], AUS.index("au_04")] = 1.5
    found = windows_of(examples(intensity), {"presence": np.zeros((CLIPS * 4, 3))})
    assert found.present[:, 1].tolist() == [True, False, False, False, False, False]


def test_the_report_says_how_many_windows_are_null_and_measures_the_others(drawn: AuExamples) -> None:
    report = report_on(drawn, said_of(drawn, {1: 4, 2: 3}), {"thresholds": {"au_01": 0.6}})
    assert report["windows"]["null"] == pytest.approx(2 / 6)
    assert report["windows"]["null_by_kind"] == {"frontal": pytest.approx(1 / 5), "occluded": 1.0}
    assert [report[which]["f1_at_calibrated"]["windows"] for which in ("all", "not_novel")] == [6, 4]
    assert [report[which]["frames"] for which in ("all", "not_novel")] == [24, 17]
    assert report["novel"]["kind"] == {"frontal": pytest.approx(3 / 20), "occluded": 1.0}
    assert report["all"]["f1_at_calibrated"]["by_unit"]["au_12"] == 0.0, "a unit without a threshold is never there"


def test_means_are_given_with_and_without_units_that_are_hardly_there() -> None:
    """Of 120 frames AU 1 is in half, AU 4 in one (0.8 %), and AU 12 in none; all are named in the first half."""
    intensity = np.zeros((120, len(AUS)), np.float32)
    intensity[:60, AUS.index("au_01")] = 2
    intensity[0, AUS.index("au_04")] = 2
    number = np.arange(120) // 4
    groups = pd.DataFrame({"kind": np.full(120, "frontal"), "pose": "frontal"})
    at, people = [AUS.index(unit) for unit in UNITS], (number % 5).astype(str)
    drawn = AuExamples(UNITS, intensity[:, at] >= 1, intensity, people, number.astype(str), groups, 1.0, None)
    report = report_on(drawn, {"presence": np.repeat((np.arange(120) < 60)[:, None], 3, axis=1) * 0.9}, {})
    assert set(report) == {"shares", "rare", "all"}, "a net without novelty has all frames alone"
    assert report["shares"]["au_04"] == pytest.approx(1 / 120) and report["rare"] == ("au_04", "au_12")
    f1 = report["all"]["f1_at_half"]
    assert f1["by_unit"] == {"au_01": 1.0, "au_04": pytest.approx(2 / 61), "au_12": 0.0}
    assert f1["mean"][0] == pytest.approx((1 + 2 / 61) / 3) and f1["mean_without_rare"] == [1.0, 1.0, 1.0]


def test_intensities_are_compared_by_the_units_of_the_card(drawn: AuExamples) -> None:
    told = ("au_12", "au_01")
    said = said_of(drawn, {}) | {"intensity": drawn.intensity[:, [AUS.index(unit) for unit in told]]}  # type: ignore[index]
    report = report_on(drawn, said, {"intensities": list(told)})
    assert report["all"]["icc_3_1"]["by_unit"] == {"au_12": pytest.approx(1.0), "au_01": pytest.approx(1.0)}
