"""The operator for action units: columns that follow from the card, means over frames that are read, nulls for novel faces."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.action_units import UNITS, action_units_model
from pydantic import ValidationError
from streamfx_operators.action_units import ActionUnits

from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.action_units import WEIGHTS, ActionUnitsModel
from streamfx.pipeline import find_operator
from streamfx.serving.client import open_model
from streamfx.synth.actions import AUS
from streamfx.testing import make_context, make_window, window_tensors

SEEN = np.ones(16, np.bool_)


def opened(directory: Path | str) -> ActionUnits:
    context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
    return ActionUnits(ActionUnits.Config(model=str(directory)), context)


@pytest.fixture
def operator(tmp_path: Path) -> ActionUnits:
    return opened(action_units_model(tmp_path / "model"))


def answer(novelty: float = 0.0, intensity: float = 2.0, logit: float = 0.0) -> dict[str, Any]:
    return {
        "presence": np.full((16, 3), logit, np.float32),
        "intensity": np.full((16, 3), intensity, np.float32),
        "novelty": np.full(16, novelty, np.float32),
    }


def test_it_is_found_by_its_name() -> None:
    assert find_operator("action_units") is ActionUnits


def test_the_model_that_ships_has_a_column_for_each_of_the_19_units() -> None:
    names = [column.name for column in opened("action-units").columns]
    assert names[0] == "action_units_frames"
    assert [name for name in names if name.startswith("au_") and not name.endswith("_present")] == list(AUS)


def test_columns_follow_from_the_card(operator: ActionUnits) -> None:
    kinds = {column.name: column.kind for column in operator.columns}
    floats = dict.fromkeys(UNITS, "float")
    assert kinds == {"action_units_frames": "int", **floats, "au_01_present": "bool", "au_12_present": "bool"}


def test_a_window_gives_a_row(operator: ActionUnits) -> None:
    """The real net in process; noise is no face, so the border is moved out of its way."""
    window = make_window(3)
    values = operator.submit(window).result(60)
    model = ActionUnitsModel.load(Path(operator.config.model))
    frames = torch.from_numpy(window_tensors(3)["frames"])[None]
    said = {name: value[0].numpy() for name, value in model.run({"frames": frames}).items()}
    assert values == pytest.approx(operator.values(said, window.present), abs=1e-4)
    assert set(values) == {column.name for column in operator.columns}
    assert operator.provenance()["model"] == "units-for-tests"


def test_rounding_takes_no_mean_out_of_the_range_that_the_columns_declare(operator: ActionUnits) -> None:
    (top,) = {column.high for column in operator.columns if column.kind == "float"}
    assert top == 5
    for seen in range(2**16 - 1, 0, -97):
        present = (seen >> np.arange(16) & 1).astype(np.bool_)
        values = operator.values(answer(intensity=top), present)
        assert all(values[unit] <= top for unit in UNITS if unit in values)


def test_the_weights_of_two_windows_that_overlap_by_half_add_up_to_one() -> None:
    np.testing.assert_allclose(WEIGHTS[:8] + WEIGHTS[8:], 1.0)


def test_an_intensity_is_the_weighted_mean_of_the_frames_that_are_not_novel(operator: ActionUnits) -> None:
    said = answer()
    said["intensity"][:, 0] = np.arange(16) / 4
    said["novelty"][12:] = 1.5
    values = operator.values(said, SEEN)
    weights = WEIGHTS[:12]
    assert values["action_units_frames"] == 12
    assert values["au_01"] == pytest.approx(float(weights @ (np.arange(12) / 4) / weights.sum()))
    assert values["au_04"] == pytest.approx(2.0)


@pytest.mark.parametrize(("logit", "present"), [(0.0, False), (0.5, True)])
def test_presence_is_the_mean_probability_against_the_threshold_of_the_card(
    operator: ActionUnits, logit: float, present: bool
) -> None:
    """The thresholds are 0.6: sigmoid(0) is 0.5, sigmoid(0.5) is 0.62."""
    assert operator.values(answer(logit=logit), SEEN)["au_12_present"] is present


@pytest.mark.parametrize("novel", [9, 16])
def test_a_face_that_is_novel_in_over_half_of_the_window_gives_nulls(operator: ActionUnits, novel: int) -> None:
    said = answer()
    said["novelty"][:novel] = 1.01
    assert operator.values(said, SEEN) == {"action_units_frames": 16 - novel}


def test_frames_that_are_repeated_because_nobody_was_seen_do_not_count(operator: ActionUnits) -> None:
    said, present = answer(), SEEN.copy()
    said["intensity"][:, 0] = np.arange(16) / 4
    present[12:] = False
    values = operator.values(said, present)
    assert values["action_units_frames"] == 12
    assert values["au_01"] == pytest.approx(float(WEIGHTS[:12] @ (np.arange(12) / 4) / WEIGHTS[:12].sum()))
    present[7:] = False
    assert operator.values(said, present) == {"action_units_frames": 7}


def test_a_model_without_intensities_and_novelty_gives_presence_only(tmp_path: Path) -> None:
    operator = opened(action_units_model(tmp_path / "model", intensities=0, novelty=False))
    assert [column.name for column in operator.columns] == ["action_units_frames", "au_01_present", "au_12_present"]
    assert set(operator.submit(make_window(1)).result(60)) == {"action_units_frames", "au_01_present", "au_12_present"}


def test_the_check_of_a_configuration_warns_of_a_model_without_novelty(tmp_path: Path) -> None:
    for novelty, count in ((True, 0), (False, 1)):
        directory = action_units_model(tmp_path / str(novelty), novelty=novelty)
        card = ActionUnitsModel.read_card(directory)
        said = [str(one) for one in ActionUnits.look_at_card(ActionUnits.Config(model=str(directory)), card)]
        assert len(said) == count and all("tells no novelty" in one for one in said)


def test_unknown_settings_and_models_of_another_kind_are_refused() -> None:
    with pytest.raises(ValidationError, match="threshold"):
        ActionUnits.Config.model_validate({"threshold": 0.5})
    with pytest.raises(ModelError, match=r"^action_units\.model: .*architecture: expected 'fmae'"):
        opened("expression-tiny")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["au_01", "au_04"]}, r"labels: expected 3 different action units"),
        ({"labels": ["au_01", "au_04", "smile"]}, r"labels: expected 3 different action units"),
        ({"facts": {"novelty": True}}, r"facts.intensities: expected 3"),
        ({"facts": {"intensities": list(UNITS)}}, r"facts.novelty: expected true"),
        (
            {"facts": {"intensities": list(UNITS), "novelty": True, "thresholds": {"au_99": 0.5}}},
            r"facts.thresholds: expected probabilities",
        ),
        ({"sound": {"rate_hz": 16000, "channels": "mix"}}, r"sound: expected null"),
    ],
)
def test_a_card_that_does_not_fit_its_net_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    card = action_units_model(tmp_path / "model") / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        ActionUnitsModel.load(card.parent)
