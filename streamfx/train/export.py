"""Exports models for other programs: one safetensors file, or an ONNX graph for Triton's ONNX Runtime backend."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx import TensorProto, helper
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from tritonclient.grpc import model_config_pb2

from streamfx.errors import ModelError
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS, FRAMES, MmaDfer
from streamfx.serving.contract import EXPRESSION, SAME_LOGITS, ModelInfo, ModelSpec, config_pbtxt
from streamfx.serving.models import load_model, resolve_model

METADATA_KEY = "streamfx_model"
"""Metadata key under which an exported safetensors holds the model card as JSON."""
OPSET = 18
"""Version of the ONNX operators; Triton's ONNX Runtime has supported it since 2023."""
BATCH = 3
"""Number of windows on which a new graph and the net are compared; the graph is traced with one."""


def export_safetensors(model: str | Path, out: Path) -> None:
    """Write the weights of a model as one file `out`: tensors by the authors' names, the card in the metadata.

    `model` is a directory or the name of a shipped model. The file is written whole or not at all. Raises ModelError
    where it cannot be written.
    """
    if out.is_dir():
        raise ModelError(f"{out} is a directory; give --out a file, such as {out / 'model.safetensors'}")
    net, card = load_model(resolve_model(model))
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(state, unfinished, metadata={"format": "pt", METADATA_KEY: json.dumps(asdict(card))})
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write {out}: {error}") from error


def export_onnx(model: str | Path, out: Path) -> float:
    """Write a Triton model repository `out`: `expression/config.pbtxt` and `expression/1/model.onnx`.

    The graph follows the model contract (streamfx/serving/contract.py): `frames` uint8 [B, 16, 3, S, S] and `fbank`
    float32 [B, 1, 512, 128] give `logits` float32 [B, labels] and `info` (text) [B, 1], for any B. Frames of another size
    than the model's give `info` and logits of NaN, since a graph cannot raise an error.

    Before anything is written, ONNX Runtime must give the same logits as torch within SAME_LOGITS; the largest
    difference is returned. `model` is a directory or the name of a shipped model. Raises ModelError where the graph
    differs or cannot be written.
    """
    folder = out / EXPRESSION.name
    if folder.exists():
        raise ModelError(f"{folder} is there already; give --out another directory, or remove it first")
    net, card = load_model(resolve_model(model))
    graph = _graph(net, card.info)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as work:
            new = Path(work) / EXPRESSION.name
            (new / "1").mkdir(parents=True)
            onnx.save(graph, new / "1" / "model.onnx")
            (new / "config.pbtxt").write_text(onnx_config(EXPRESSION, card.info), encoding="utf-8")
            difference = _largest_difference(net, card.info, new / "1" / "model.onnx")
            new.replace(folder)
    except OSError as error:
        raise ModelError(f"cannot write the model repository {out}: {error}") from error
    return difference


def onnx_config(spec: ModelSpec, info: ModelInfo) -> str:
    """The text of `config.pbtxt` for Triton's ONNX Runtime backend: the contract's, made specific to this model."""
    config = text_format.Parse(config_pbtxt(spec), model_config_pb2.ModelConfig())
    config.backend = "onnxruntime"
    config.ClearField("parameters")
    # ONNX Runtime knows the number of labels, and Triton requires the same number here.
    next(output for output in config.output if output.name == "logits").dims[:] = [len(info.labels)]
    said = "# Generated from streamfx/serving/contract.py by `streamfx models export`.\n"
    return f"{said}{text_format.MessageToString(config)}"


class _Served(nn.Module):
    """The net, accepting frames of any size as the contract requires; frames of its own size pass unchanged."""

    def __init__(self, net: MmaDfer):
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, fbank: Tensor) -> Tensor:
        size = self.net.config.image_size
        sides = torch._shape_as_tensor(frames)[-2:]
        fits = (sides == size).all()
        pictures = F.interpolate(frames.flatten(0, 1), size=(size, size), mode="nearest")
        logits = self.net(pictures.view(frames.shape[0], FRAMES, 3, size, size), fbank)
        return torch.where(fits, logits, torch.full_like(logits, torch.nan))


def _graph(net: MmaDfer, info: ModelInfo) -> onnx.ModelProto:
    """The net as an ONNX graph with the contract's tensors; `info` is a constant, repeated for each item."""
    frames, fbank = _windows(net, 1)
    axes = {"frames": {0: "batch", 3: "height", 4: "width"}, "fbank": {0: "batch"}, "logits": {0: "batch"}}
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        # The exporter warns that a newer one exists (which needs another package), and of shapes that are constants.
        warnings.simplefilter("ignore")
        path = str(Path(work) / "traced.onnx")
        torch.onnx.export(
            _Served(net).eval(),
            (frames, fbank),
            path,
            input_names=["frames", "fbank"],
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    _add_info(model.graph, info)
    onnx.checker.check_model(model)
    return model


def _add_info(graph: onnx.GraphProto, info: ModelInfo) -> None:
    graph.initializer.append(helper.make_tensor("info_text", TensorProto.STRING, [1, 1], [info.to_json().encode()]))
    graph.initializer.append(helper.make_tensor("info_width", TensorProto.INT64, [1], [1]))
    graph.node.extend(
        [
            helper.make_node("Shape", ["fbank"], ["info_items"], start=0, end=1),
            helper.make_node("Concat", ["info_items", "info_width"], ["info_shape"], axis=0),
            helper.make_node("Expand", ["info_text", "info_shape"], ["info"]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("info", TensorProto.STRING, ["batch", 1]))


def _largest_difference(net: MmaDfer, info: ModelInfo, path: Path) -> float:
    """Largest difference between ONNX Runtime and torch on random windows.

    Raises ModelError for one beyond SAME_LOGITS, and for another `info`.
    """
    frames, fbank = _windows(net, BATCH)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits, texts = session.run(["logits", "info"], {"frames": frames.numpy(), "fbank": fbank.numpy()})
    with torch.inference_mode():
        difference = float(np.abs(logits - net(frames, fbank).numpy()).max())
    if not difference <= SAME_LOGITS:
        raise ModelError(
            f"the exported graph's logits differ from the net's by {difference:.2e}, expected at most {SAME_LOGITS}"
        )
    if any(ModelInfo.from_json(text) != info for text in texts[:, 0]):
        raise ModelError("the exported graph does not say which model it is")
    return difference


def _windows(net: MmaDfer, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = net.config.image_size
    frames = torch.randint(0, 256, (batch, FRAMES, 3, size, size), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(batch, 1, FBANK_ROWS, FBANK_BINS, generator=generator)
