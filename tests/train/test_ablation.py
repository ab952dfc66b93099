"""The ablation: six nets per seed by one recipe, resumed where it was killed, and a table of the results."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from streamfx.cli.ablation import ablation_command
from streamfx.errors import ConfigError
from streamfx.models.find import read_card
from streamfx.train.ablation import ROWS, Outcome, run_ablation, table
from streamfx.train.encoder_file import EncoderInfo, save_encoder
from streamfx.train.recipe import ExpressionRecipe, load_recipe

NET = {"latent": 4, "temporal_dim": 8, "temporal_heads": 1, "temporal_head_dim": 8, "temporal_mlp": 8}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recipe of tiny nets for one epoch on three coloured clips in DFEW's layout."""
    tmp_path = tmp_path_factory.mktemp("ablation")
    colours = {"00001": (200, 40, 40), "00002": (40, 200, 40), "00003": (40, 40, 200)}
    for name, colour in colours.items():
        folder = tmp_path / "dfew" / "clip_224x224" / name
        folder.mkdir(parents=True)
        for frame in range(2):
            Image.new("RGB", (32, 32), colour).save(folder / f"{frame}.jpg")
    with (tmp_path / "dfew" / "fold.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_name", "label"], [1, 1], [2, 2], [3, 4]])
    encoders = {"face": (2, 2), "audio": (32, 8)}
    for kind, grid in encoders.items():
        info = EncoderInfo(kind, 16, 16, 2, 2, 2, grid, "MIT", "a test")  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(1)
        state = {
            name: torch.randn(value.shape, generator=generator) for name, value in info.encoder().state_dict().items()
        }
        save_encoder(tmp_path / f"{kind}.safetensors", state, info)
    recipe = {
        "data": {
            "image_size": 32,
            "dfew": {"root": str(tmp_path / "dfew"), "train": "fold.csv", "held_out": "fold.csv"},
        },
        "face": str(tmp_path / "face.safetensors"),
        "audio": str(tmp_path / "audio.safetensors"),
        "net": NET,
        "epochs": 1,
        "batch_size": 3,
        "origin": {"licence": "MIT", "source": "a test"},
        "run": {"out": str(tmp_path / "out"), "seed": 4, "device": "cpu", "threads": 1},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    threads = torch.get_num_threads()
    yield path
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def done(config: Path) -> Path:
    """The folder of all rows, trained with seed 4."""
    return run_ablation(recipe_of(config), [4], quiet)


def recipe_of(config: Path, *overrides: str) -> ExpressionRecipe:
    return load_recipe(ExpressionRecipe, config, overrides)


def quiet(_: str) -> None:
    """Print nothing."""


def copied(done: Path, out: Path) -> str:
    """Copy `done` to `out`, and return the override of a run there."""
    shutil.copytree(done, out / "ablation")
    return f"run.out={out}"


def test_every_row_is_trained_and_measured(done: Path) -> None:
    outcomes = json.loads((done / "ablation.json").read_text())
    assert [(one["row"], one["seed"]) for one in outcomes] == [(row, 4) for row in ROWS]
    for one in outcomes:
        assert one["windows"] == 3
        assert 0 <= one["war"] <= 1 and 0 <= one["uar"] <= 1
        seen = {label for label, recall in one["recall"].items() if recall is not None}
        assert seen == {"happiness", "sadness", "anger"}
    parameters = {one["row"]: one["parameters"] for one in outcomes}
    assert all(parameters[row] < parameters["full"] for row in ROWS if row != "full")
    assert all(f"| {row} |" in (done / "ablation.md").read_text() for row in ROWS)


def test_each_rows_model_lacks_its_part(done: Path) -> None:
    sizes = {row: read_card(done / f"{row.replace(' ', '-')}-seed-4" / "model").sizes for row in ROWS}
    assert {row: vars(found) for row, found in sizes.items()} == {
        row: vars(dataclasses.replace(sizes["full"], **switches)) for row, switches in ROWS.items()
    }


def test_finished_runs_are_kept_and_the_others_give_equal_results(config: Path, done: Path, tmp_path: Path) -> None:
    recipe = recipe_of(config, copied(done, tmp_path / "o"))
    folder = tmp_path / "o" / "ablation"
    shutil.rmtree(folder / "video-only-seed-4")
    (folder / "ablation.json").unlink()
    said: list[str] = []
    assert run_ablation(recipe, [4], said.append) == folder
    assert [line for line in said if "kept" not in line] == ["5/6 video only, seed 4"]
    assert (folder / "ablation.json").read_text() == (done / "ablation.json").read_text()


def test_runs_of_another_recipe_are_not_mixed_in(config: Path, done: Path, tmp_path: Path) -> None:
    out = copied(done, tmp_path / "o")
    with pytest.raises(ConfigError, match="made by another recipe"):
        run_ablation(recipe_of(config, out, "lr=0.5"), [4], quiet)
    (tmp_path / "o" / "ablation" / "full-seed-4" / "result.json").write_text("[]")
    with pytest.raises(ConfigError, match="expected the result of a run"):
        run_ablation(recipe_of(config, out), [4], quiet)


@pytest.mark.parametrize("switch", ["net.prompts_per_step=0", "net.bottleneck=false", "net.modalities=[face]"])
def test_an_ablation_starts_from_the_full_net(config: Path, switch: str) -> None:
    with pytest.raises(ConfigError, match="starts from the full net"):
        run_ablation(recipe_of(config, switch), [4], quiet)


def test_an_ablation_needs_held_out_windows(config: Path) -> None:
    with pytest.raises(ConfigError, match="held-out"):
        run_ablation(recipe_of(config, "data.dfew.held_out=null"), [4], quiet)


@pytest.mark.slow
def test_the_command_requires_three_seeds_and_prints_the_table(config: Path) -> None:
    outcome = CliRunner().invoke(ablation_command, [str(config), "--seeds", "2"])
    assert outcome.exit_code == 2
    outcome = CliRunner().invoke(ablation_command, [str(config)], catch_exceptions=False)
    assert "over 3 seeds (4, 5, 6), on 3 held-out windows" in outcome.stdout


def made(row: str, seed: int, uar: float, **more: Any) -> Outcome:
    return Outcome(row, seed, uar, uar, {}, 100, 1234, "", **more)


def test_the_table_says_where_a_part_helps_with_every_seed_and_where_not() -> None:
    uars = {"full": (0.90, 0.92), "without prompts": (0.91, 0.90), "sound only": (0.50, 0.54)}
    text = table([made(row, seed, uar) for row, pair in uars.items() for seed, uar in enumerate(pair)])
    assert "| full | 1,234 | 91.0 ± 1.4 | 91.0 ± 1.4 |  |" in text
    assert "| without prompts | 1,234 | 90.5 ± 0.7 | 90.5 ± 0.7 | 0.5 ± 2.1 |" in text
    assert f"| sound only | 1,234 | 52.0 ± {np.std([50, 54], ddof=1):.1f} |" in text
    assert "UAR fell with every seed: sound only." in text
    assert "no help is shown here: without prompts." in text


def test_one_seed_has_no_deviation() -> None:
    assert "| 90.0 | 90.0 |" in table([made("full", 1, 0.9)])
