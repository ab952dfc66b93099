"""Models that hold the same tensors keep them once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.action_units import action_units_model

from streamfx.errors import ModelError
from streamfx.models.action_units import ActionUnitsModel
from streamfx.models.card import CARD_FILE, WEIGHTS_FILE, Shared, read_weights, save_model, write_weights
from streamfx.models.expression import ExpressionModel
from streamfx.models.shared import read_state, shipped_model, without_shared
from streamfx.shipped import shipped
from streamfx.train.encoder_file import load_face_encoder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and one beside it that has all of its tensors but one from it."""
    first = action_units_model(tmp_path / "first")
    card, state = ActionUnitsModel.read_card(first), read_weights(first / WEIGHTS_FILE)
    mine = {"head.bias": state["head.bias"] + 1}
    save_model(tmp_path / "second", mine, replace(card, shared={"": Shared("first", card.version)}))
    return first, tmp_path / "second"


def test_a_model_that_shares_has_its_own_tensors_and_the_others_of_the_other(two: tuple[Path, Path]) -> None:
    first, second = (ActionUnitsModel.load(directory).net.state_dict() for directory in two)
    assert torch.equal(second.pop("head.bias"), first.pop("head.bias") + 1)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_other_model_in_another_version_is_refused(two: tuple[Path, Path]) -> None:
    raw = json.loads((two[0] / CARD_FILE).read_text())
    (two[0] / CARD_FILE).write_text(json.dumps(raw | {"version": "other"}))
    with pytest.raises(ModelError, match=r"expected first in the version 1, .* got other"):
        ActionUnitsModel.load(two[1])


def test_a_model_whose_other_is_nowhere_is_refused_by_its_name(two: tuple[Path, Path]) -> None:
    shutil.rmtree(two[0])
    with pytest.raises(ModelError, match="no model 'first'"):
        ActionUnitsModel.load(two[1])


@pytest.mark.parametrize(
    "shared", [["first"], {"": "first"}, {"": {"model": "first"}}, {"": {"model": 1, "version": "1"}}, 7]
)
def test_a_card_that_shares_in_another_form_is_refused(two: tuple[Path, Path], shared: object) -> None:
    raw = json.loads((two[1] / CARD_FILE).read_text())
    (two[1] / CARD_FILE).write_text(json.dumps(raw | {"shared": shared}))
    with pytest.raises(ModelError, match="shared: expected"):
        ActionUnitsModel.load(two[1])


def test_only_tensors_that_are_the_same_are_left_out() -> None:
    other = shipped_model(shipped("weights") / "expression-small", "image_encoder")
    assert other is not None
    theirs = read_weights(shipped("weights") / "expression-small" / WEIGHTS_FILE)
    same, changed = theirs["image_encoder.norm.weight"], theirs["image_encoder.norm.bias"] + 1
    state = {"eye.norm.weight": same, "eye.norm.bias": changed, "norm.weight": same}
    rest, of_use = without_shared(state, {"eye": other})
    assert rest.keys() == {"eye.norm.bias", "norm.weight"}
    assert of_use == {"eye": other}
    assert without_shared({"eye.norm.bias": changed}, {"eye": other}) == ({"eye.norm.bias": changed}, {})


def test_only_models_that_ship_are_shared_with(two: tuple[Path, Path]) -> None:
    assert shipped_model(two[0]) is None


def test_the_encoder_of_a_shipped_model_that_shares_can_be_read() -> None:
    faces, small = (load_face_encoder(shipped("weights") / name) for name in ("expression-faces", "expression-small"))
    assert faces[1].dim == small[1].dim
    assert all(torch.equal(faces[0][name], small[0][name]) for name in small[0] if name.startswith("blocks."))


def test_a_copy_of_a_shipped_model_finds_what_it_shares(tmp_path: Path) -> None:
    copied = shutil.copytree(shipped("weights") / "expression-faces", tmp_path / "mine")
    there, here = read_state(shipped("weights") / "expression-faces"), read_state(copied)
    assert there.keys() == here.keys() and all(torch.equal(there[name], here[name]) for name in there)
    assert ExpressionModel.read_card(copied).shared[""].model == "expression-small"


def test_a_models_own_tensor_is_taken_before_the_others(two: tuple[Path, Path]) -> None:
    own = read_weights(two[1] / WEIGHTS_FILE)
    write_weights(two[1] / WEIGHTS_FILE, own | {"head.weight": torch.zeros_like(read_state(two[0])["head.weight"])})
    assert not read_state(two[1])["head.weight"].any()
