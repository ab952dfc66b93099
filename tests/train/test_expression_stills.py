"""Expressions of single pictures by FMAE's encoder, in the layouts of RAF-DB and AffectNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.training import COLOURS, ORIGIN, write_yaml
from PIL import Image
from safetensors import safe_open

from streamfx.cli.train import train
from streamfx.errors import ConfigError
from streamfx.train.expression_stills import AFFECTNET, RAF_DB, Pictures, StillsData, StillsRecipe, read_stills
from streamfx.train.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "config" / "train"


def paint(file: Path, colour: tuple[int, int, int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 24), colour).save(file)


def raf_db(root: Path) -> Path:
    """Each expression is a colour: four pictures of each to train on, and one to test."""
    lines = []
    for number in range(35):
        name, label = f"{'test' if number >= 28 else 'train'}_{number:05d}", number % 7
        paint(root / "Image" / "aligned" / f"{name}_aligned.jpg", COLOURS[label])
        lines.append(f"{name}.jpg {label + 1}")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    return root


def recipe(tmp_path: Path, data: dict[str, Any]) -> Path:
    tree = {
        "data": {"image_size": 32} | data, "size": "tiny", "epochs": 12, "batch_size": 14, "blr": 0.02,
        "layer_decay": 1.0, "drop_path": 0.0, "augment": {"scale_min": 1.0, "rand_augment": False, "erase": 0.0},
        "origin": ORIGIN, "run": {"out": str(tmp_path / "out"), "device": "cpu", "threads": 1},
    }  # fmt: skip
    return write_yaml(tmp_path / "recipe.yaml", tree)


def test_raf_db_is_learned_and_measured(tmp_path: Path) -> None:
    made = recipe(tmp_path, {"raf_db": {"root": str(raf_db(tmp_path / "raf"))}})
    run = CliRunner().invoke(train, ["expression-stills", str(made)])
    assert run.exit_code == 0, run.output
    report = json.loads((tmp_path / "out" / "expression-stills-report.json").read_text())
    assert report["pictures"] == 7 and report["war"] > 0.5 and set(report["recall"]) == set(RAF_DB)
    with safe_open(tmp_path / "out" / "classifier.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["labels"]) == list(RAF_DB)
        assert list(file.get_slice("head.weight").get_shape()) == [7, 128]


def test_affectnet_has_a_folder_for_each_label(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for label in (0, 7):
            paint(tmp_path / part / str(label) / "1.png", COLOURS[0])
    labels, learned, tested = read_stills(StillsData(affectnet=Pictures(root=tmp_path)))
    assert (labels, [label for _, label in learned], len(tested)) == (AFFECTNET, [0, 7], 2)


def test_layouts_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.affectnet: expected pictures in .*train/<0..7>/, found none"):
        read_stills(StillsData(affectnet=Pictures(root=tmp_path)))
    data = StillsData(raf_db=Pictures(root=tmp_path))
    with pytest.raises(ConfigError, match=r"data.raf_db: cannot read .*list_patition_label.txt"):
        read_stills(data)
    (tmp_path / "EmoLabel").mkdir()
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("train_1.jpg 8\n")
    with pytest.raises(ConfigError, match=r"line 1: expected `train_00001.jpg 5`"):
        read_stills(data)


@pytest.mark.parametrize(("name", "blr", "batch", "epochs"), [("raf-db", 1e-3, 32, 60), ("affectnet", 5e-4, 64, 30)])
def test_the_recipes_have_the_authors_settings(name: str, blr: float, batch: int, epochs: int) -> None:
    made = load_recipe(StillsRecipe, RECIPES / f"fmae-{name}.yaml")
    assert (made.blr, made.batch_size, made.epochs, made.warmup_epochs) == (blr, batch, epochs, epochs / 10)
    assert (made.layer_decay, made.drop_path, made.augment.rand_augment, made.size) == (0.65, 0.1, True, "large")
