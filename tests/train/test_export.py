"""Exported models: other programs get the same weights, and the same answers behind the same contract."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from google.protobuf import text_format
from safetensors import safe_open
from tritonclient.grpc import model_config_pb2

from streamfx.cli.models import models
from streamfx.errors import ModelError
from streamfx.models.card import MODEL_CARD, ModelCard, save_model
from streamfx.models.contract import INFO, NUMPY_TYPES, SAME_LOGITS, ModelInfo
from streamfx.models.expression import ExpressionModel
from streamfx.models.find import load_model
from streamfx.nets.mma_dfer import LABELS_7, MmaDfer, MmaDferConfig
from streamfx.train.export import export_onnx, export_safetensors

EXPRESSION = ExpressionModel.spec
SIZES = MmaDferConfig(
    image_size=32, dim=32, depth=4, heads=2, latent=8, image_head=3, audio_head=0,
    temporal_dim=24, temporal_heads=2, temporal_head_dim=8, temporal_mlp=32,
)  # fmt: skip


def model(directory: Path, **parts: Any) -> Path:
    net = MmaDfer(dataclasses.replace(SIZES, **parts))
    net.initialise(3)
    for name, value in net.named_parameters():
        if ".all_gate." in name:
            value.data.fill_(0.7)
    card = ModelCard("m", "1", "mma_dfer", net.config, LABELS_7, True, "MIT", "a test", "weights.safetensors")
    save_model(directory, net.state_dict(), card)
    return directory


def windows(batch: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (batch, 16, 3, 32, 32), dtype=np.uint8)
    return {"frames": frames, "fbank": random.standard_normal((batch, 1, 512, 128), dtype=np.float32)}


def test_safetensors_hold_the_weights_and_the_card(tmp_path: Path) -> None:
    directory, out = model(tmp_path / "m", modalities=("face",)), tmp_path / "deep" / "m.safetensors"
    export_safetensors(directory, out)
    loaded = load_model(directory)
    net, card = loaded.net, loaded.card
    with safe_open(out, framework="pt") as file:
        said = json.loads(file.metadata()["streamfx_model"])
        assert set(file.keys()) == set(net.state_dict())
        assert all(torch.equal(file.get_tensor(name), value) for name, value in net.state_dict().items())
    assert MmaDferConfig(**said["sizes"]) == card.sizes
    assert (said["labels"], said["licence"]) == (list(LABELS_7), "MIT")
    assert [path.name for path in out.parent.iterdir()] == ["m.safetensors"]


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write"):
        export_safetensors(model(tmp_path / "m"), tmp_path / "file" / "m.safetensors")
    with pytest.raises(ModelError, match="cannot write"):
        export_onnx(tmp_path / "m", tmp_path / "file")
    for folder in (tmp_path, Path("."), Path("/")):
        with pytest.raises(ModelError, match="is a directory; give --out a file"):
            export_safetensors(tmp_path / "m", folder)
    with pytest.raises(ModelError, match="no model 'absent'"):
        export_onnx("absent", tmp_path / "out")


@pytest.mark.parametrize(
    "parts",
    [{}, {"prompts_per_step": 0, "bottleneck": False, "temporal": False}, {"modalities": ("sound",)}],
    ids=["full", "plain", "sound only"],
)
def test_the_graph_gives_the_nets_logits_for_any_number_of_windows(tmp_path: Path, parts: dict[str, Any]) -> None:
    directory = model(tmp_path / "m", **parts)
    assert export_onnx(directory, tmp_path / "repository") <= SAME_LOGITS
    session = onnxruntime.InferenceSession(tmp_path / "repository" / "expression" / "1" / "model.onnx")
    loaded = load_model(directory)
    net, card = loaded.net, loaded.card
    for batch in (1, 2, 5):
        inputs = windows(batch, seed=batch)
        logits, info = session.run(["logits", "info"], inputs)
        with torch.inference_mode():
            expected = net(*(torch.from_numpy(value) for value in inputs.values())).numpy()
        np.testing.assert_allclose(logits, expected, atol=SAME_LOGITS, rtol=0)
        assert info.shape == (batch, 1)
        assert {ModelInfo.from_json(text) for text in info[:, 0]} == {card.info}


def test_the_graph_and_its_config_follow_the_contract(tmp_path: Path) -> None:
    info = load_model(model(tmp_path / "m")).info
    export_onnx(tmp_path / "m", tmp_path / "r")
    session = onnxruntime.InferenceSession(tmp_path / "r" / "expression" / "1" / "model.onnx")
    config = text_format.Parse(
        (tmp_path / "r" / "expression" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    assert (config.name, config.backend, config.max_batch_size) == (
        "expression",
        "onnxruntime",
        EXPRESSION.max_batch_size,
    )
    assert config.dynamic_batching.max_queue_delay_microseconds == EXPRESSION.queue_delay_us
    onnx_types = {"UINT8": "tensor(uint8)", "FP32": "tensor(float)", "BYTES": "tensor(string)"}
    for ours, graphs, configs in (
        (EXPRESSION.inputs, session.get_inputs(), config.input),
        ((*ExpressionModel.spec_of(info).outputs, INFO), session.get_outputs(), config.output),
    ):
        assert {spec.name for spec in ours} == {one.name for one in graphs}
        for spec in ours:
            graph = next(one for one in graphs if one.name == spec.name)
            entry = next(one for one in configs if one.name == spec.name)
            assert graph.type == onnx_types[spec.dtype]
            assert isinstance(graph.shape[0], str), "any number of windows"
            # Triton's ONNX Runtime backend compares them like this: a size that varies is -1 in both.
            assert [-1 if isinstance(size, str) else size for size in graph.shape[1:]] == list(entry.dims)
            assert all(wish in (-1, size) for wish, size in zip(spec.dims, entry.dims, strict=True))
            assert NUMPY_TYPES[spec.dtype]
    opsets = {one.version for one in onnx.load(tmp_path / "r" / "expression" / "1" / "model.onnx").opset_import}
    assert opsets == {18}


def test_a_client_gets_the_models_info_with_frames_of_any_size(tmp_path: Path) -> None:
    """streamfx's own client asks so before it knows the size; the logits that it gets are NaN."""
    directory = model(tmp_path / "m")
    export_onnx(directory, tmp_path / "r")
    session = onnxruntime.InferenceSession(tmp_path / "r" / "expression" / "1" / "model.onnx")
    for height, width in ((1, 1), (32, 31), (64, 64)):
        inputs = windows(1) | {"frames": np.zeros((1, 16, 3, height, width), np.uint8)}
        logits, info = session.run(["logits", "info"], inputs)
        assert ModelInfo.from_json(info[0, 0]) == load_model(directory).info
        assert np.isnan(logits).all()


def test_an_existing_repository_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r" / "expression").mkdir(parents=True)
    with pytest.raises(ModelError, match="is there already"):
        export_onnx(model(tmp_path / "m"), tmp_path / "r")
    assert not list((tmp_path / "r" / "expression").iterdir())


@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_the_command_exports_a_shipped_model(tmp_path: Path, form: str) -> None:
    arguments = ["export", "expression-tiny", "--format", form, "--out", str(tmp_path / "out")]
    outcome = CliRunner().invoke(models, arguments, catch_exceptions=False)
    assert str(tmp_path / "out") in outcome.stdout
    assert (tmp_path / "out").exists()


def test_the_card_is_shown_with_the_models_own_info(tmp_path: Path) -> None:
    directory = model(tmp_path / "m", temporal=False)
    (directory / MODEL_CARD).write_bytes("# Not for hiring, M\xfcller\n".encode("latin-1"))
    shown = CliRunner().invoke(models, ["card", str(directory)], catch_exceptions=False).stdout
    assert shown.startswith("# Not for hiring, M\ufffdller\n")
    parameters = sum(value.numel() for value in load_model(directory).net.parameters())
    for fact in (f"{parameters:,}", "temporal False", "happiness, sadness", "MIT", "a test"):
        assert fact in shown
    assert "NO: its scores mean nothing" in CliRunner().invoke(models, ["card", "expression-tiny"]).stdout
