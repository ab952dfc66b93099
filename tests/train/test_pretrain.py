"""Recipes for the encoders: their checks, their training, and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers.training import ENCODER, audio_recipe, face_recipe, synthetic_data, write_set, write_yaml

from streamfx.errors import ConfigError
from streamfx.media.audio import missing_sound
from streamfx.train.augment import PLAIN, Mix, View, disturb_sound, show, spoil
from streamfx.train.batches import MaeFaceBatches, TuneFaceBatches
from streamfx.train.encoder_file import load_encoder
from streamfx.train.loop import Schedule
from streamfx.train.pretrain import pretrain_audio, pretrain_face
from streamfx.train.recipe import AudioRecipe, ExpressionRecipe, FaceRecipe, load_recipe
from streamfx.train.synthetic import PreparedSet, prepare

RECIPES = Path(__file__).parents[2] / "config/train"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sets")
    return write_set(root / "train", 14), write_set(root / "held-out", 7, seed=2)


@pytest.fixture(scope="module")
def data(sets: tuple[Path, Path]) -> dict[str, Any]:
    return synthetic_data(*sets, sets[0].parent / "cache")


@pytest.fixture(scope="module")
def prepared(sets: tuple[Path, Path]) -> PreparedSet:
    return prepare(sets[0], sets[0].parent / "cache", 32)


def test_the_vit_b_recipes_have_the_papers_settings() -> None:
    face = load_recipe(FaceRecipe, RECIPES / "vit-b-face.yaml")
    assert vars(face.encoder) == {"patch": 16, "dim": 768, "depth": 12, "heads": 12, "mlp_ratio": 4}
    assert (face.mae.mask_ratio, face.mae.weight_decay, face.tune) == (0.75, 0.05, None)
    assert load_recipe(AudioRecipe, RECIPES / "vit-b-audio.yaml").mae.mask_ratio == 0.8
    expression = load_recipe(ExpressionRecipe, RECIPES / "vit-b-expression.yaml")
    assert (expression.epochs, expression.batch_size, expression.lr, expression.weight_decay) == (25, 8, 1e-4, 1e-2)
    assert (expression.augment.brightness, expression.augment.scale_min, expression.augment.flip) == (
        (0.5, 1.5),
        0.08,
        0.5,
    )
    assert expression.augment.sound_dropout == 0 and expression.run.precision == "float32"


def test_wrong_values_are_named_by_path(data: dict[str, Any], tmp_path: Path) -> None:
    tree = face_recipe(data, tmp_path, mae={"epochs": 0, "batch_size": 16, "blr": 1e-2, "mask_ratio": 0.75}, colour=1)
    with pytest.raises(ConfigError) as caught:
        load_recipe(FaceRecipe, write_yaml(tmp_path / "recipe.yaml", tree), ["run.precison=bf16"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["mae.epochs", "run.precison", "colour"]


def test_exactly_one_data_set_is_required(data: dict[str, Any], tmp_path: Path) -> None:
    both = {**data, "dfew": {"root": "x", "train": "y"}}
    with pytest.raises(ConfigError, match="data: exactly one of"):
        load_recipe(FaceRecipe, write_yaml(tmp_path / "recipe.yaml", face_recipe(both, tmp_path)))


def test_tuning_needs_synthetic_data(tmp_path: Path) -> None:
    tree = face_recipe({"dfew": {"root": "x", "train": "y"}}, tmp_path, tune={"epochs": 1, "batch_size": 2, "blr": 1})
    with pytest.raises(ConfigError, match="tune needs labels of each frame"):
        load_recipe(FaceRecipe, write_yaml(tmp_path / "recipe.yaml", tree))


def test_sizes_that_do_not_fit_the_pictures_are_refused(data: dict[str, Any], tmp_path: Path) -> None:
    tree = face_recipe(data, tmp_path, encoder={**ENCODER, "patch": 24})
    with pytest.raises(ConfigError, match="multiples of patch 24"):
        pretrain_face(FaceRecipe.model_validate(tree))


def test_rates_rise_then_fall_by_half_a_cosine() -> None:
    schedule = Schedule(epochs=10, steps=4, peak=1.0, warmup_epochs=2)
    assert [schedule.rate(0, 0), schedule.rate(1, 0), schedule.rate(2, 0)] == [0, 0.5, 1.0]
    assert schedule.rate(6, 0) == pytest.approx(0.5) and schedule.rate(9, 3) < 0.01
    by_epoch = Schedule(epochs=25, steps=100, peak=1e-4, by_epoch=True)
    assert by_epoch.rate(0, 0) == by_epoch.rate(0, 99) == 1e-4 > by_epoch.rate(1, 0)


def test_face_encoder_is_pre_trained_and_tuned(data: dict[str, Any], tmp_path: Path) -> None:
    tune = {"epochs": 50, "batch_size": 8, "blr": 0.1, "teacher": False, "mixup": 0.0, "weight_decay": 0.0}
    recipe = FaceRecipe.model_validate(face_recipe(data, tmp_path / "face", tune=tune))
    path = pretrain_face(recipe)
    state, info = load_encoder(path)
    assert (info.kind, info.grid, info.dim, info.licence) == ("face", (2, 2), 16, "CC0-1.0")
    assert not any(name.startswith(("head", "decoder", "mask_token")) for name in state)
    mae, tuned = (pd.read_csv(tmp_path / f"face/face-{phase}-epochs.csv") for phase in ("mae", "tune"))
    assert mae["loss"].iloc[-1] < mae["loss"].iloc[0]
    assert tuned["loss"].iloc[-1] < tuned["loss"].iloc[0]
    # Colours distinguish the expressions; chance is a seventh.
    assert tuned["held_out_expression"].iloc[-1] > 0.5
    # A finished recipe is not trained again.
    before = path.read_bytes()
    log = (tmp_path / "face/face-tune-steps.csv").read_bytes()
    assert pretrain_face(recipe).read_bytes() == before
    assert (tmp_path / "face/face-tune-steps.csv").read_bytes() == log


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_with_whitening_and_muon_learns(data: dict[str, Any], tmp_path: Path, compiled: bool) -> None:
    """The small recipes use these instead of the papers' initialisation and optimiser."""
    mae = {"epochs": 4, "batch_size": 8, "blr": 0.05, "mask_ratio": 0.5, "optimiser": "muon", "whiten": True}
    tune = {"epochs": 60, "batch_size": 8, "blr": 0.05, "teacher": False, "mixup": 0.0, "optimiser": "muon"}
    tree = face_recipe(data, tmp_path / "face", mae=mae, tune=tune)
    tree["run"]["compile"] = compiled
    pretrain_face(FaceRecipe.model_validate(tree))
    tuned = pd.read_csv(tmp_path / "face/face-tune-epochs.csv")
    assert tuned["held_out_expression"].iloc[-1] > 0.5


def test_compiling_needs_a_compiler(data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    tree = face_recipe(data, tmp_path / "face")
    tree["run"]["compile"] = True
    with pytest.raises(ConfigError, match=r"run\.compile: expected a C\+\+ compiler"):
        pretrain_face(FaceRecipe.model_validate(tree))


def test_audio_encoder_is_pre_trained_and_tuned(data: dict[str, Any], tmp_path: Path) -> None:
    tune = {"epochs": 1, "batch_size": 4, "blr": 0.01}
    path = pretrain_audio(AudioRecipe.model_validate(audio_recipe(data, tmp_path / "audio", tune=tune)))
    assert load_encoder(path)[1].grid == (32, 8)
    epochs = pd.read_csv(tmp_path / "audio/audio-mae-epochs.csv")
    assert epochs["loss"].iloc[-1] < epochs["loss"].iloc[0]
    assert "held_out_expression" in pd.read_csv(tmp_path / "audio/audio-tune-epochs.csv")


def test_the_teacher_is_imitated_on_the_picture_that_the_student_sees(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small teacher: its input must be the student's batch, and the student must learn its answers."""
    asked = []

    def teacher(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(faces.shape)
        means = faces.mean(dim=(1, 2)) / 255
        return means, means.repeat(1, 3)[:, :7] * 4

    monkeypatch.setattr("streamfx.train.tune.open_teacher", lambda run: teacher)
    tune = {"epochs": 20, "batch_size": 8, "blr": 0.1, "action_units": 0, "expression": 0, "weight_decay": 0}
    pretrain_face(FaceRecipe.model_validate(face_recipe(data, tmp_path / "face", tune=tune)))
    assert set(asked) == {(8, 112, 112, 3)}
    epochs = pd.read_csv(tmp_path / "face/face-tune-epochs.csv")
    assert epochs["features"].iloc[-1] < 0.8 * epochs["features"].iloc[0]
    assert epochs["scores"].iloc[-1] < epochs["scores"].iloc[0]


def test_each_epoch_sees_each_clip_with_other_frames(prepared: PreparedSet) -> None:
    batches = MaeFaceBatches(prepared, 4, 32, 4, 14, seed=1)
    chosen = [batches.chosen(list(range(56)), epoch) for epoch in (0, 1)]
    assert batches.steps == 4
    assert all(len(set(one)) == 56 and {clip for clip, _ in one} == set(range(14)) for one in chosen)
    assert chosen[0] != chosen[1]


def test_a_batch_is_the_same_in_every_process(prepared: PreparedSet) -> None:
    def made(number: int) -> dict[str, torch.Tensor]:
        return dict(TuneFaceBatches(prepared, 4, 32, 0.5, 8, seed=3)[number])

    first, again, next_epoch = made(5), made(5), made(12)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pictures"], next_epoch["pictures"])
    assert first["pictures"].shape == (8, 3, 32, 32) and first["action_units"].max() <= 1
    torch.testing.assert_close(first["expression"].sum(dim=1), torch.ones(8))


def test_the_plain_view_is_the_middle_of_what_is_stored(prepared: PreparedSet) -> None:
    stored = torch.from_numpy(prepared.frames(3, [0, 5], None))
    middle = stored[:, 4:36, 4:36].permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(show(stored, prepared.margin, PLAIN, 32), middle, rtol=0, atol=0)
    nearly = PLAIN.clone()
    nearly[0, 0, 0] += 1e-6
    torch.testing.assert_close(show(stored, prepared.margin, nearly, 32), middle, rtol=0, atol=1e-3)


def test_a_mirrored_view_is_the_mirror_image() -> None:
    stored = torch.randint(0, 255, (1, 20, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mirror = View(scale_min=1.0, rotate_deg=0.0, flip=1.0, jitter=0.0).draw(1, torch.Generator().manual_seed(0))
    crop = show(stored, 1.0, mirror, 20)
    # At full scale only the aspect ratio is drawn: undo it, and the picture is turned left to right.
    squeezed = mirror.clone()
    squeezed[0, 0, 0] *= -1
    torch.testing.assert_close(crop.flip(3), show(stored, 1.0, squeezed, 20), atol=1e-4, rtol=0)


def test_spoiled_pictures_are_valid_and_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(32, 3, 36, 36, generator=generator)
    spoiled = spoil(pictures, generator)
    assert spoiled.shape == pictures.shape and spoiled.min() >= 0 and spoiled.max() <= 1
    assert ((spoiled - pictures).abs().mean(dim=(1, 2, 3)) > 0.01).all()


def test_sound_is_disturbed_but_not_its_padding() -> None:
    bank = torch.from_numpy(missing_sound()).repeat(4, 1, 1, 1)
    bank[:, :, :198] = torch.randn(4, 1, 198, 128, generator=torch.Generator().manual_seed(0)) * 0.3
    disturbed = disturb_sound(bank, torch.Generator().manual_seed(1))
    assert torch.equal(disturbed[:, :, 198:], bank[:, :, 198:])
    assert disturbed.isfinite().all()
    assert ((disturbed - bank)[:, :, :198].abs().mean(dim=(1, 2, 3)) > 0.01).all()


def test_mixtures_mix_pictures_and_labels_alike() -> None:
    mix = Mix(torch.tensor([0.25, 1.0]), torch.tensor([1, 0]))
    assert mix.of(torch.tensor([[0.0], [4.0]])).tolist() == [[3.0], [4.0]]
    drawn = Mix.draw(1000, 0.5, torch.Generator().manual_seed(0))
    assert 0.4 < float((drawn.share == 1).float().mean()) < 0.6
