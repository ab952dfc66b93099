"""A package outside the tree brings a served model, its operator and its Triton folder (`tests/foreign`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import runs
from helpers.foreign import INSTALLED, TRITON, WEIGHTS, light_model
from helpers.triton import free_ports, require_triton

from streamfx.config.serving import Serving
from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.card import WEIGHTS_FILE, resolve_model, save_model
from streamfx.models.find import find_model, load_model, model_of, read_card
from streamfx.serving.client import open_model
from streamfx.serving.contract import config_pbtxt
from streamfx.serving.triton_server import LocalTriton
from streamfx.shipped import shipped
from streamfx.testing import window_tensors
from streamfx.train.export import export_onnx


@pytest.fixture
def light() -> Iterator[Any]:
    """The class, in a process where the package is installed."""
    with light_model() as model:
        yield model


def config_file(folder: Path, clip: Path, **sections: Any) -> Path:
    folder.mkdir(exist_ok=True)
    config = runs.tree(folder, [clip], **sections)
    config["pipeline"] = ["faces", "windows", "expression", "light", "redact"]
    return runs.write_config(folder, config)


def scores(folder: Path) -> dict[Any, tuple[float, float]]:
    rows = runs.rows(folder / "data", "windows")
    return {row["window_start"]: (row["light"], row["p_happiness"]) for row in rows}


def test_it_is_found_by_its_name_and_by_its_directory(light: Any) -> None:
    assert find_model("light") is light and model_of(WEIGHTS) is light
    assert resolve_model("light-1", light.shelf) == WEIGHTS
    with pytest.raises(
        ModelError,
        match=r"served model 'dark' is not installed .*; installed are: action_units, ask, attributes, expression, light",
    ):
        find_model("dark")


def test_a_package_that_cannot_be_imported_hides_no_other_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "dim-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dim\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamfx.models]\ndim = dim.model:DimModel\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_card(resolve_model("expression-tiny")).name == "expression-tiny"
    with pytest.raises(ModelError, match=r"'dim' \(dim.model:DimModel\) is installed and cannot be imported: Module"):
        find_model("dim")
    with pytest.raises(ModelError, match=r"architecture: expected .*'mma_dfer'.*, got 'light'\. served model 'dim'"):
        read_card(WEIGHTS)


def test_without_the_package_its_directory_is_refused() -> None:
    with pytest.raises(ModelError, match=r"architecture: expected .*'mma_dfer'.*, got 'light'"):
        read_card(WEIGHTS)


def test_its_class_checks_the_card_and_every_weight(light: Any, tmp_path: Path) -> None:
    loaded = light.load(WEIGHTS)
    card = replace(loaded.card, weights=WEIGHTS_FILE, seed=None)
    save_model(tmp_path, loaded.net.state_dict(), card)
    assert torch.equal(load_model(tmp_path).net.channels, loaded.net.channels)
    save_model(tmp_path, {"channels": torch.zeros(4), "more": torch.zeros(1)}, card)
    with pytest.raises(CheckpointMismatch, match=r"unexpected: more\n.*channels \(expected \[3\], got \[4\]\)"):
        load_model(tmp_path)
    raw = json.loads((WEIGHTS / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(raw | {"sizes": {"image_size": 0}}))
    with pytest.raises(ModelError, match="image_size: expected a whole number"):
        read_card(tmp_path)


def test_a_net_that_breaks_the_contract_is_named(light: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_model(light, "light-1", Serving())
    frames = {"frames": window_tensors(0, 16)["frames"]}
    for wrong, message in (
        (lambda self, batch: {"light": torch.full((1, 1), torch.nan)}, "'light': expected finite numbers"),
        (lambda self, batch: {"dark": torch.zeros(1, 1)}, "expected the outputs light, got dark"),
        (lambda self, batch: self.net(torch.zeros(1)), "the net light-1 failed on cpu"),
    ):
        monkeypatch.setattr(light, "forward", wrong)
        with pytest.raises(ModelError, match=message):
            client.submit(frames).result(60)
    client.close()


def test_its_graph_can_be_exported(light: Any, tmp_path: Path) -> None:
    assert export_onnx(WEIGHTS, tmp_path) < 1e-6
    assert (tmp_path / "light" / "1" / "model.onnx").is_file()


def test_its_triton_folder_is_its_spec(light: Any) -> None:
    assert (TRITON / "light" / "config.pbtxt").read_text() == config_pbtxt(light.spec)


def test_the_commands_know_it(tmp_path: Path, clip: Path) -> None:
    card = runs.streamfx("models", "card", WEIGHTS, env=INSTALLED)
    assert card.returncode == 0 and "light-1" in card.stdout and "sound       none" in card.stdout
    checked = runs.streamfx("config", "check", config_file(tmp_path, clip, light={"model": "light-2"}), env=INSTALLED)
    assert checked.returncode == 1 and "light.model: no model 'light-2'" in checked.stdout


@pytest.mark.triton
def test_its_rows_are_the_same_in_process_and_behind_triton(
    light: Any, tmp_path: Path, clip: Path, quickstart: Path
) -> None:
    require_triton()
    done = runs.streamfx("run", config_file(tmp_path / "here", clip), env=INSTALLED)
    assert done.returncode == 0, done.stderr
    here = scores(tmp_path / "here")
    server = LocalTriton(free_ports(), also=[TRITON])
    try:
        behind = {"backend": "triton", "triton": {"url": server.grpc_url}}
        done = runs.streamfx("run", config_file(tmp_path / "there", clip, serving=behind), env=INSTALLED)
    finally:
        server.stop(gently=False)
    assert done.returncode == 0, done.stderr
    there = scores(tmp_path / "there")
    assert list(here) == list(there) and len(here) == sum(runs.keys(quickstart / "data").values())
    np.testing.assert_allclose(list(here.values()), list(there.values()), atol=1e-4, rtol=0)
    assert all(0 < bright < 1 for bright, _ in here.values())


@pytest.mark.triton
def test_a_name_in_two_repositories_is_refused_before_anything_starts() -> None:
    require_triton()
    with pytest.raises(ModelError, match="two served models are called 'action_units'"):
        LocalTriton(also=[shipped("triton_models")])
