"""Training with an expert: the recipe's rules, and a model directory that has everything but the expert's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.expert import require_face_api, take_face_api_away, windows
from helpers.training import NET, ORIGIN, synthetic_data, write_encoders, write_set
from pydantic import ValidationError

from streamfx.errors import ConfigError, MissingComponent
from streamfx.models.card import WEIGHTS_FILE, find_directory, read_weights, resolve_model
from streamfx.models.expression import ExpressionModel
from streamfx.train.datasets import open_examples
from streamfx.train.expression import WindowBatches, net_config, train_expression
from streamfx.train.recipe import Augment, ExpressionRecipe, load_recipe
from streamfx.train.settle import REPORT


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train`, `calibration`, and the encoder files `face` and `audio`."""
    root = tmp_path_factory.mktemp("world")
    write_set(root / "train", 14)
    write_set(root / "calibration", 7, seed=3)
    write_encoders(root)
    return root


def tree(world: Path, out: Path, **changes: Any) -> dict[str, Any]:
    data = synthetic_data(world / "train", None, world / "cache")
    data["synthetic"]["calibration"] = [str(world / "calibration")]
    recipe = {"data": data, "face": world / "face", "audio": world / "audio", "net": NET, "epochs": 1, "lr": 1e-2}
    recipe |= {"batch_size": 7, "augment": {"still": 0.3, "cover": 0.3}, "origin": ORIGIN, "expert": True}
    recipe |= {"instead": "expression-tiny", "name": "with-expert", "weights": "float16"}
    return recipe | {"run": {"out": out, "device": "cpu", "threads": 1}} | changes


def recipe(world: Path, out: Path, **changes: Any) -> ExpressionRecipe:
    return ExpressionRecipe.model_validate(tree(world, out, **changes))


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the trained model."""
    require_face_api()
    return train_expression(recipe(world, tmp_path_factory.mktemp("run")))


def test_the_directory_has_everything_but_the_experts_weights(trained: Path) -> None:
    state = read_weights(trained / WEIGHTS_FILE)
    assert not [name for name in state if name.startswith("expert.")]
    assert {"expert_proj.weight", "known_means", "known_map", "border", "temperatures"} <= set(state)
    card = ExpressionModel.read_card(trained)
    assert (card.outside, card.instead, card.facts) == ({"expert": "face-api"}, "expression-tiny", {"novelty": True})
    assert card.trained and card.version.startswith("sha256-")


def test_the_trained_model_loads_and_answers(trained: Path) -> None:
    frames, fbank = windows(3)
    answer = ExpressionModel.load(trained).run({"frames": frames, "fbank": fbank})
    assert answer["logits"].shape == (3, 7) and answer["novelty"].shape == (3, 1)
    torch.testing.assert_close(answer["logits"].exp().sum(dim=1), torch.ones(3), atol=1e-3, rtol=0)
    assert ((answer["novelty"] >= 0) & (answer["novelty"] <= 1)).all()


def test_what_is_settled_is_what_is_saved(trained: Path) -> None:
    report = json.loads((trained.parent / REPORT).read_text())
    net = ExpressionModel.load(trained).net
    warm, cool = net.get_buffer("temperatures").tolist()
    assert warm == pytest.approx(report["temperature"], rel=1e-3)
    assert cool == pytest.approx(report["expert_temperature"], rel=1e-3)
    assert float(net.get_buffer("border")[0]) == pytest.approx(report["border"], rel=1e-3)
    assert all(buffer.isfinite().all() for buffer in net.buffers()), "half the bits are enough for them"


def test_training_again_gives_the_same_weights(trained: Path, world: Path, tmp_path: Path) -> None:
    """Also where another model is named for machines without the expert's weights."""
    again = train_expression(recipe(world, tmp_path, instead="expression-small"))
    assert ExpressionModel.read_card(again).version == ExpressionModel.read_card(trained).version


def test_without_the_experts_weights_the_other_model_is_taken(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_face_api_away(monkeypatch, tmp_path)
    assert resolve_model(trained) == find_directory("expression-tiny")


def test_a_machine_that_cannot_fetch_the_expert_is_told_before_it_trains(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(MissingComponent, match="npm_config_registry"):
        train_expression(recipe(world, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_people_who_are_also_trained_on_are_refused_before_the_training(world: Path, tmp_path: Path) -> None:
    changed = tree(world, tmp_path / "out")
    changed["data"]["synthetic"]["calibration"] = [str(world / "train")]
    with pytest.raises(ConfigError, match=r"data\.synthetic\.calibration: .* got 4 who are, such as s1-i0"):
        train_expression(ExpressionRecipe.model_validate(changed))
    assert not (tmp_path / "out").exists()


def test_an_expert_requires_a_calibration_set_and_a_calibration_set_an_expert(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"a model with an expert, and no other, needs data\.synthetic\.calibr"):
        recipe(world, tmp_path, expert=False)
    without = tree(world, tmp_path)
    del without["data"]["synthetic"]["calibration"]
    with pytest.raises(ValidationError, match=r"a model with an expert, and no other, needs data\.synthetic\.calibr"):
        ExpressionRecipe.model_validate(without)
    assert not ExpressionRecipe.model_validate(without | {"expert": False}).expert


def test_a_net_without_the_face_cannot_have_an_expert(world: Path, tmp_path: Path) -> None:
    deaf = recipe(world, tmp_path, net={**NET, "modalities": ["sound"]})
    with pytest.raises(ConfigError, match=r"net: .*the expert knows the face of 7 expressions"):
        net_config(deaf, 7)


def test_a_folder_for_the_teachers_weights_is_no_key(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="teacher_cache"):
        recipe(world, tmp_path, teacher_cache="out/face-api")


def test_the_recipe_of_the_shipped_model_is_valid() -> None:
    shipped = load_recipe(ExpressionRecipe, Path(__file__).parents[2] / "config" / "train" / "small-faces.yaml")
    assert shipped.expert and shipped.instead == "expression-small" and shipped.name == "expression-faces"


@pytest.mark.parametrize(("share", "covered"), [(0.0, 0), (1.0, 14)])
def test_faces_are_covered_as_often_as_configured_all_frames_of_a_clip_alike(
    world: Path, tmp_path: Path, share: float, covered: int
) -> None:
    examples, _ = open_examples(recipe(world, tmp_path).data)
    plain, other = (
        WindowBatches(examples, Augment(cover=cover, scale_min=1.0, brightness=(1.0, 1.0), flip=0.0), 32, 14, seed=1)[0]
        for cover in (0.0, share)
    )
    hidden = (plain["frames"] - other["frames"]).abs().amax(dim=2) > 1e-6
    assert int(hidden.flatten(1).any(dim=1).sum()) == covered
    for clip, frames in zip(hidden, other["frames"], strict=True):
        if covered:
            everywhere = clip.float().mean(dim=0) > 0.5
            assert 0 < float(everywhere.float().mean()) < 0.3, "up to a quarter of the face"
            assert float(frames[:, :, everywhere].std(dim=(0, 2)).max()) < 1e-6, "one colour, the same in all frames"


def test_stills_are_not_covered_a_second_time(world: Path, tmp_path: Path) -> None:
    """They have their own damage."""
    examples, _ = open_examples(recipe(world, tmp_path).data)
    plain, other = (
        WindowBatches(examples, Augment(still=1.0, cover=cover, brightness=(1.0, 1.0)), 32, 14, seed=1)[0]
        for cover in (0.0, 1.0)
    )
    assert torch.equal(plain["frames"], other["frames"])
