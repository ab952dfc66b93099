"""MMA-DFER adaptation: exactly the authors' trainable set, their augmentation, and a model directory at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.training import NET, ORIGIN, synthetic_data, write_encoders, write_set

from streamfx.errors import ConfigError
from streamfx.media.audio import missing_sound
from streamfx.models.find import load_model
from streamfx.nets.mma_dfer import MmaDfer, MmaDferConfig
from streamfx.train.datasets import open_examples
from streamfx.train.encoder_file import load_encoder, net_from_encoders
from streamfx.train.expression import Adaptation, WindowBatches, net_config, train_expression
from streamfx.train.recipe import Augment, ExpressionRecipe
from streamfx.train.synthetic import PreparedSet, prepare


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train`, `held-out`, and the encoder files `face` and `audio`."""
    root = tmp_path_factory.mktemp("world")
    write_set(root / "train", 28)
    write_set(root / "held-out", 14, seed=2)
    write_encoders(root)
    return root


@pytest.fixture(scope="module")
def prepared(world: Path) -> PreparedSet:
    return prepare(world / "train", world / "cache", 32)


def recipe(world: Path, out: Path, **changes: Any) -> ExpressionRecipe:
    data = synthetic_data(world / "train", world / "held-out", world / "cache")
    tree = {"data": data, "face": world / "face", "audio": world / "audio", "net": NET, "epochs": 8, "lr": 1e-2}
    tree |= {
        "batch_size": 4,
        "augment": {"scale_min": 0.6},
        "origin": ORIGIN,
        "run": {"out": out, "device": "cpu", "threads": 1},
    }
    return ExpressionRecipe.model_validate(tree | changes)


@pytest.mark.parametrize(("classes", "trained"), [(7, 7_632_415), (11, 7_634_467)])
def test_the_trainable_parameters_are_those_of_the_authors(
    world: Path, prepared: PreparedSet, tmp_path: Path, classes: int, trained: int
) -> None:
    with torch.device("meta"):
        net = MmaDfer(MmaDferConfig(classes=classes))
    Adaptation(net, prepared, None, recipe(world, tmp_path))
    assert sum(value.numel() for value in net.parameters() if value.requires_grad) == trained


def test_training_learns_and_writes_a_model(world: Path, tmp_path: Path) -> None:
    directory = train_expression(recipe(world, tmp_path))
    model = load_model(directory)
    net, card = model.net, model.card
    assert card.trained and card.labels[0] == "happiness" and card.licence == "CC0-1.0"
    assert card.version.startswith("sha256-") and card.sizes.latent == 8
    epochs = pd.read_csv(tmp_path / "expression-epochs.csv")
    assert list(epochs.columns) == [
        "epoch", "loss", "war", "uar", "held_out_loss", "held_out_war", "held_out_uar", "seconds",
    ]  # fmt: skip
    assert len(epochs) == 8 and epochs["loss"].iloc[-1] < 0.6 * epochs["loss"].iloc[0]
    assert epochs["held_out_uar"].iloc[-1] > 0.6
    face, _ = load_encoder(world / "face")
    audio, _ = load_encoder(world / "audio")
    for name in ("cls_token", "patch_embed.proj.weight", "blocks.1.mlp.fc2.bias", "norm.weight"):
        assert torch.equal(net.get_parameter(f"image_encoder.{name}"), face[name]), name
        assert torch.equal(net.get_parameter(f"audio_model.{name}"), audio[name]), name
    assert not torch.equal(net.image_encoder.pos_embed[:, :5], face["pos_embed"])


def test_the_version_follows_from_the_weights(world: Path, tmp_path: Path) -> None:
    cards = []
    for name, weights, seed in (("a", "float32", 1), ("b", "float32", 1), ("c", "float32", 2), ("d", "float16", 1)):
        run = {"out": tmp_path / name, "seed": seed, "device": "cpu", "threads": 1}
        directory = train_expression(recipe(world, tmp_path, epochs=1, weights=weights, run=run))
        cards.append(load_model(directory).card)
    assert cards[0].version == cards[1].version
    assert len({card.version for card in cards}) == 3


@pytest.mark.parametrize(
    "parts",
    [
        {"modalities": ["face"]},
        {"modalities": ["sound"]},
        {"prompts_per_step": 0},
        {"bottleneck": False},
        {"temporal": False},
    ],
)
def test_parts_can_be_left_out(world: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    model = load_model(train_expression(recipe(world, tmp_path, epochs=1, net={**NET, **parts})))
    card = model.card
    assert model.net.config == card.sizes
    [(name, value)] = parts.items()
    assert getattr(card.sizes, name) == (tuple(value) if isinstance(value, list) else value)


def test_sizes_that_the_encoders_decide_cannot_be_set(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="net: the encoders and the data decide dim; remove it here"):
        net_config(recipe(world, tmp_path, net={"dim": 32}), 7)
    with pytest.raises(ConfigError, match=r"net: .*latnt"):
        net_config(recipe(world, tmp_path, net={"latnt": 32}), 7)


def test_augmentation_is_drawn_once_per_clip(prepared: PreparedSet) -> None:
    """A clip of equal frames stays one of equal frames, since they share crop, mirroring and brightness."""

    class Still(PreparedSet):
        def frames(self, number: int, at: Any, rng: Any) -> Any:
            return np.repeat(super().frames(number, [0], rng), len(at), axis=0)

    still = Still.__new__(Still)
    still.__dict__.update(prepared.__dict__)
    frames = WindowBatches(still, Augment(), 32, 4, seed=1)[0]["frames"]
    assert frames.shape == (4, 16, 3, 32, 32)
    assert torch.equal(frames, frames[:, :1].expand_as(frames))
    assert not torch.equal(frames[0], frames[1])


def test_brightness_stays_in_its_range(prepared: PreparedSet) -> None:
    batch = WindowBatches(prepared, Augment(brightness=(0.5, 0.5), scale_min=1.0, flip=0.0), 32, 28, seed=1)[0]
    assert batch["frames"].max() <= 0.5


def test_sound_is_dropped_as_often_as_configured(prepared: PreparedSet) -> None:
    silent = torch.from_numpy(missing_sound())
    for share, expected in ((0.0, 0), (1.0, 28)):
        sound = WindowBatches(prepared, Augment(sound_dropout=share), 32, 28, seed=1)[0]["sound"]
        assert sum(torch.equal(one[0], silent) for one in sound) == expected


def test_a_still_is_one_frame_sixteen_times_without_sound(prepared: PreparedSet) -> None:
    """Stills are made as often as configured."""
    for share, expected in ((1.0, 28), (0.0, 0)):
        batch = WindowBatches(prepared, Augment(still=share, scale_min=1.0), 32, 28, seed=1)[0]
        equal = (batch["frames"] == batch["frames"][:, :1]).flatten(1).all(dim=1)
        silent = (batch["sound"] == torch.from_numpy(missing_sound())).flatten(1).all(dim=1)
        assert int(equal.sum()) == int((equal & silent).sum()) == int(batch["still"].sum()) == expected


def test_a_stills_target_is_partly_the_teachers_score_of_the_same_picture(
    world: Path, tmp_path: Path, prepared: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target of a moving window is its label alone."""
    seen = []

    def teacher(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(faces)
        return torch.zeros(len(faces), 256), torch.eye(7)[torch.full((len(faces),), 3)] * 1000

    monkeypatch.setattr("streamfx.train.expression.open_teacher", lambda run: teacher)
    made = recipe(world, tmp_path, augment={"still": 0.5}, teacher=0.25)
    examples, _ = open_examples(made.data)
    net = net_from_encoders(made.face, made.audio, net_config(made, 7), 1)
    adaptation = Adaptation(net, examples, None, made)
    batch = next(one for one in map(adaptation.batches.__getitem__, range(20)) if 0 < int(one["still"].sum()) < 4)
    shares = adaptation.shares(batch)
    truth = torch.eye(7)[batch["target"]]
    still = batch["still"]
    assert torch.equal(shares[~still], truth[~still])
    torch.testing.assert_close(shares[still], 0.75 * truth[still] + 0.25 * torch.eye(7)[3])
    assert [len(faces) for faces in seen] == [int(still.sum())]


def test_a_teacher_requires_stills(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set augment\.still above 0"):
        recipe(world, tmp_path, teacher=0.5)


def test_stills_require_labels_of_frames(world: Path, tmp_path: Path) -> None:
    """Only synthetic sets have the frame that shows the expression most."""
    with pytest.raises(ValueError, match=r"augment\.still"):
        ExpressionRecipe.model_validate(
            {
                "data": {"dfew": {"root": tmp_path, "train": "fold.csv"}},
                "face": tmp_path / "f", "audio": tmp_path / "a", "augment": {"still": 0.5},
                "origin": {"licence": "x", "source": "y"}, "run": {"out": tmp_path},
            }
        )  # fmt: skip
