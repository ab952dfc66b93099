"""The recipe of the attributes' models, from a set to a directory that the line can run; and what it learns from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from helpers.people import BOX, write_people
from streamfx_operators.attributes import Attributes

from streamfx.cli.main import main
from streamfx.errors import ConfigError, ModelError, SynthError
from streamfx.models.attributes import AttributesModel
from streamfx.models.celeba import CELEBA
from streamfx.nets.lnet_anet import ANet, ANetSizes, initialise
from streamfx.train.attribute_phases import FACE_VIEW, IdentityPhase, PairBatches, TaggedANet
from streamfx.train.attribute_pictures import cut_squares, open_pictures
from streamfx.train.attribute_recipe import AttributesRecipe
from streamfx.train.attributes import train_attributes
from streamfx.train.augment import PLAIN
from streamfx.train.encoder_file import load_square_encoder
from streamfx.train.recipe import load_recipe

SECTION = {"epochs": 1, "batch_size": 8, "blr": 0.03}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("people")
    return {
        "train": write_people(folder / "train", 24, 24, seed=1),
        "calibration": write_people(folder / "calibration", 6, 6, seed=2, empty=2),
        "cache": folder / "cache",
    }


def recipe(sets: dict[str, Path], out: Path, **changes: Any) -> AttributesRecipe:
    tree = {
        "method": "lnet_anet",
        "data": {"train": [sets["train"]], "calibration": [sets["calibration"]], "cache": sets["cache"]},
        **dict.fromkeys(("lnet_o", "lnet_s", "identity", "attributes"), SECTION),
        "origin": {"licence": "CC0-1.0", "source": "made for a test"},
        "run": {"out": out, "threads": 1, "device": "cpu"},
    }
    return AttributesRecipe.model_validate(tree | changes)


def test_pictures_of_one_person_are_drawn_together_as_far_as_people_are_told_apart(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    """At its full weight from the start the distance would be made small by the same vector for everybody."""
    made = recipe(sets, tmp_path, identity=SECTION | {"together": 0.5})
    pictures = open_pictures([sets["train"]], sets["cache"])
    people = pictures.some(~pictures.empty)
    net = TaggedANet(ANet(ANetSizes()), 24, seed=1)
    initialise(net.anet, 1)
    batches = PairBatches(people, people.faces(), CELEBA, 112, FACE_VIEW, made.identity, 0, "identity")
    phase = IdentityPhase(net, batches, made.identity, [])
    batch = batches.of([0, 2, 4, 6, 8, 10], 0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        net.head.weight.zero_()
        unsure = phase.losses(batch)
        net.head.bias[batch["people"]] = 40.0
        sure = phase.losses(batch)
    assert unsure["apart"] > 0 and unsure["loss"] == unsure["named"]
    learned = 1 - sure["named"] / np.log(24)
    assert 0 < learned < 1
    torch.testing.assert_close(sure["loss"], sure["named"] + 0.5 * learned * sure["apart"])


def test_pictures_have_labels_people_and_boxes_and_are_read_once(sets: dict[str, Path]) -> None:
    pictures = open_pictures([sets["train"], sets["calibration"]], sets["cache"])
    assert len(pictures) == 2 * (24 + 1 + 6 + 2) and pictures.empty.sum() == 2 * 3
    assert len(set(pictures.people[~pictures.empty].tolist())) == 30
    hat, smile = CELEBA.index("Wearing_Hat"), CELEBA.index("Smiling")
    shown = pictures.some(~pictures.empty)
    assert sorted(set(shown.labels[:, smile].tolist())) == [0, 1]
    assert shown.labels[:2, hat].tolist() == [0, 0] and shown.labels[2:4, hat].tolist() == [1, 1]
    assert (pictures.labels[pictures.empty][:, hat] == 0).all()
    np.testing.assert_allclose(shown.boxes[0], BOX)
    green = shown.pixels([2])[0, 28, 48]
    assert int(green[1]) > 150 > int(green[0])


def test_the_square_that_is_cut_is_the_line_s(sets: dict[str, Path]) -> None:
    shown = open_pictures([sets["train"]], sets["cache"])
    shown = shown.some(~shown.empty)
    middle_x, middle_y, side, roll = shown.faces()[0].tolist()
    assert (middle_x, middle_y, roll) == (48.0, 48.0, 0.0) and side == pytest.approx(48 * 1.2, rel=1e-5)
    whole = torch.tensor([[48.0, 48.0, 96.0, 0.0]])
    cut = cut_squares(shown.pixels([0]), whole, PLAIN, 96)[0]
    np.testing.assert_allclose(cut.permute(1, 2, 0).numpy() * 255, shown.pixels([0])[0].numpy(), atol=0.01)


def test_the_cache_is_half_of_rgb_stays_on_the_disk_and_gives_the_video_s_own_pictures(sets: dict[str, Path]) -> None:
    stored = open_pictures([sets["train"], sets["calibration"]], sets["cache"]).stored
    assert all(isinstance(frames, np.memmap) for frames in stored.sets) and len(stored) == 2 * (24 + 1 + 6 + 2)
    assert sum(frames.nbytes for frames in stored.sets) == len(stored) * 96 * 96 * 3 // 2
    videos = [file for name in ("train", "calibration") for file in sorted((sets[name] / "clips").glob("*.mp4"))]
    shown = [frame.to_ndarray(format="rgb24") for file in videos for frame in av.open(str(file)).decode(video=0)]
    for row in (0, 1, 49, 50, 65):  # of the last clip of the first set, and the first of the second, too
        np.testing.assert_array_equal(stored.rgb(row), shown[row])


def test_a_set_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="holds no set by `streamfx synth`"):
        open_pictures([tmp_path], tmp_path / "cache")


@pytest.mark.timeout(600)
def test_lnet_anet_from_a_set_to_a_directory_and_again_without_training(sets: dict[str, Path], tmp_path: Path) -> None:
    directory = train_attributes(recipe(sets, tmp_path))
    model = AttributesModel.load(directory)
    assert model.info.trained and model.info.facts["method"] == "lnet_anet" and len(model.info.labels) >= 20
    settled = json.loads((tmp_path / "attributes-settled.json").read_text())
    assert settled["lnets"]["empty"] == 4 and settled["lnets"]["false_faces"] <= 0.25
    assert "Wearing_Hat" in settled["svms"]
    assert settled["frame"]["side"] > 0 and model.net.lnets.frame[0] == pytest.approx(settled["frame"]["side"])
    again = train_attributes(recipe(sets, tmp_path))
    assert AttributesModel.load(again).info == model.info
    with pytest.raises(ConfigError, match="made with another recipe"):
        train_attributes(recipe(sets, tmp_path, lnet_o=SECTION | {"spoiled": 0.1}))


def test_a_head_on_the_encoder_of_the_shipped_model(sets: dict[str, Path], tmp_path: Path) -> None:
    encoder = Path(__file__).parents[2] / "weights" / "expression-small"
    directory = train_attributes(
        recipe(
            sets,
            tmp_path,
            method="shared_encoder",
            encoder=encoder,
            weights="float16",
            attributes=SECTION | {"epochs": 6},
        )
    )
    model = AttributesModel.load(directory)
    assert "Wearing_Hat" in json.loads((tmp_path / "attributes-settled.json").read_text())["head"]
    state, _ = load_square_encoder(encoder)
    for name, value in model.net.encoder.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=1e-3, rtol=1e-3)
    out = tmp_path / "evaluation"
    done = CliRunner().invoke(
        main,
        ["evaluate", "--model", str(directory), "--model", "attributes-shared", "--set", str(sets["calibration"]),
         "--cache", str(sets["cache"]), "--out", str(out), "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((out / "attributes.json").read_text())
    found, other = json.loads(done.stdout)["evaluations"]
    assert (found["trained"], other["trained"], other["model"]) == (True, True, "attributes-shared")
    assert found["windows"] == 12 and found["people"] == 6 and found["method"] == "shared_encoder"
    assert "Wearing_Hat" in found["attributes"] and "Attractive" not in found["attributes"]
    assert found["weights_bytes"] > 0 and found["windows_per_s"] > 0
    assert "| mean balanced accuracy, % |" in (out / "attributes.md").read_text()
    assert Attributes.Config(method="shared_encoder", model=str(directory)).method == "shared_encoder"


def test_a_shared_encoder_needs_one(sets: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="encoder: expected an encoder file"):
        train_attributes(recipe(sets, tmp_path, method="shared_encoder"))
    with pytest.raises(ModelError, match=r"cannot read the encoder file .*nothing"):
        train_attributes(recipe(sets, tmp_path, method="shared_encoder", encoder=tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["attributes-lnet", "attributes-shared"])
def test_the_recipes_that_ship_are_right(name: str) -> None:
    file = Path(__file__).parents[2] / "config" / "train" / f"{name}.yaml"
    assert load_recipe(AttributesRecipe, file).name == yaml.safe_load(file.read_text())["name"] == name
