"""Exports models for other programs: one safetensors file, or an ONNX graph for Triton's ONNX Runtime backend."""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx import TensorProto, helper
from safetensors import SafetensorError
from torch import Tensor, nn
from tritonclient.grpc import model_config_pb2

from streamfx.errors import ModelError
from streamfx.models.base import ServedModel
from streamfx.models.card import resolve_model, write_weights
from streamfx.models.contract import INFO, SAME_LOGITS, ModelInfo, ModelSpec
from streamfx.models.find import load_model
from streamfx.serving.contract import config_pbtxt

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
    loaded = load_model(resolve_model(model))
    state = {name: value.contiguous() for name, value in loaded.net.state_dict().items()}
    try:
        write_weights(out, state, {"format": "pt", METADATA_KEY: json.dumps(asdict(loaded.card))})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write {out}: {error}") from error


def export_onnx(model: str | Path, out: Path) -> float:
    """Write a Triton model repository `out`: `<name>/config.pbtxt` and `<name>/1/model.onnx` (`<name>`: `expression`,
    say).

    The graph follows the contract of the served model (its class's `spec`): its inputs, with a batch dimension of any
    size, give its outputs and `info` (text) [B, 1]. Frames of another size than these weights' give `info` and outputs
    of NaN, since a graph cannot raise an error.

    Before anything is written, ONNX Runtime must give the same logits as torch within SAME_LOGITS; the largest
    difference is returned. `model` is a directory or the name of a shipped model. Raises ModelError where the graph
    differs or cannot be written.
    """
    loaded = load_model(resolve_model(model))
    name = loaded.spec.name
    folder = out / name
    if folder.exists():
        raise ModelError(f"{folder} is there already; give --out another directory, or remove it first")
    graph = _graph(loaded)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as work:
            new = Path(work) / name
            (new / "1").mkdir(parents=True)
            onnx.save(graph, new / "1" / "model.onnx")
            (new / "config.pbtxt").write_text(onnx_config(loaded.spec, loaded.spec_of(loaded.info)), encoding="utf-8")
            difference = _largest_difference(loaded, new / "1" / "model.onnx")
            new.replace(folder)
    except OSError as error:
        raise ModelError(f"cannot write the model repository {out}: {error}") from error
    return difference


def onnx_config(spec: ModelSpec, fixed: ModelSpec) -> str:
    """The text of `config.pbtxt` for a model of Triton's ONNX Runtime backend: that of `spec`, for this one model.

    `fixed` is `spec` with the sizes and the outputs that the weights fix.
    """
    # ONNX Runtime knows the sizes of the outputs, and Triton wants to read the same numbers here.
    served = replace(spec, outputs=fixed.outputs)
    config = text_format.Parse(config_pbtxt(served), model_config_pb2.ModelConfig())
    config.backend = "onnxruntime"
    config.ClearField("parameters")
    said = "# Generated from the spec in the model's class by `streamfx models export`.\n"
    return f"{said}{text_format.MessageToString(config)}"


class _Served(nn.Module):
    """The net, accepting frames of any size as the contract requires; frames of its own size pass unchanged."""

    def __init__(self, model: ServedModel):
        super().__init__()
        self.net = model.net  # so that the tracer knows its parameters
        self._model, self._fixed = model, model.spec_of(model.info)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        batch, fits = {}, torch.tensor(True)
        for value, known, spec in zip(inputs, self._fixed.inputs, self._model.spec.inputs, strict=True):
            if -1 in spec.dims:
                sides = torch._shape_as_tensor(value)[-2:]
                fits = fits & (sides == torch.tensor(known.dims[-2:])).all()
                resized = F.interpolate(value.flatten(0, -4), size=known.dims[-2:], mode="nearest")
                value = resized.view(value.shape[0], *known.dims)
            batch[spec.name] = value
        outputs = self._model.forward(batch)
        return tuple(
            torch.where(fits, outputs[spec.name], torch.full_like(outputs[spec.name], torch.nan))
            for spec in self._fixed.outputs
        )


def _graph(model: ServedModel) -> onnx.ModelProto:
    """The net as an ONNX graph with the contract's tensors; `info` is a constant, repeated for each item."""
    spec = model.spec
    for tensor in spec.inputs:
        if -1 in tensor.dims[:-2] or (-1 in tensor.dims and len(tensor.dims) < 3):
            raise ModelError(
                f"model {spec.name!r} cannot be exported: only a picture's sides may vary, and more of "
                f"{tensor.name!r} does"
            )
    batch = _batch(model, 1)
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        # The exporter warns that a newer one exists (which needs another package), and of shapes that are constants.
        warnings.simplefilter("ignore")
        path = str(Path(work) / "traced.onnx")
        torch.onnx.export(
            _Served(model).eval(),
            tuple(batch.values()),
            path,
            input_names=list(batch),
            output_names=[output.name for output in model.spec_of(model.info).outputs],
            dynamic_axes={
                tensor.name: {0: "batch"}
                | {at + 1: f"{tensor.name}_{at}" for at, size in enumerate(dims) if size == -1}
                for tensors in (spec.inputs, model.spec_of(model.info).outputs)
                for tensor in tensors
                for dims in [tensor.dims]
            },
            opset_version=OPSET,
            dynamo=False,
        )
        graph = onnx.load(path)
    _add_info(graph.graph, next(iter(batch)), model.info)
    onnx.checker.check_model(graph)
    return graph


def _add_info(graph: onnx.GraphProto, counted: str, info: ModelInfo) -> None:
    """`counted` is an input, which has as many items as `info` must have."""
    graph.initializer.append(helper.make_tensor("info_text", TensorProto.STRING, [1, 1], [info.to_json().encode()]))
    graph.initializer.append(helper.make_tensor("info_width", TensorProto.INT64, [1], [1]))
    graph.node.extend(
        [
            helper.make_node("Shape", [counted], ["info_items"], start=0, end=1),
            helper.make_node("Concat", ["info_items", "info_width"], ["info_shape"], axis=0),
            helper.make_node("Expand", ["info_text", "info_shape"], [INFO.name]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(INFO.name, TensorProto.STRING, ["batch", 1]))


def _largest_difference(model: ServedModel, path: Path) -> float:
    """The largest difference between ONNX Runtime and torch on random windows; ModelError beyond SAME_LOGITS, or for
    another `info`."""
    batch, names = _batch(model, BATCH), [output.name for output in model.spec_of(model.info).outputs]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    *answers, texts = session.run([*names, INFO.name], {name: value.numpy() for name, value in batch.items()})
    expected = model.run(batch)
    differences = [
        float(np.abs(answer - expected[name].numpy()).max()) for name, answer in zip(names, answers, strict=True)
    ]
    for name, difference in zip(names, differences, strict=True):
        if not difference <= SAME_LOGITS:
            raise ModelError(
                f"the exported graph's {name} differ from the net's by {difference:.2e}, expected at most {SAME_LOGITS}"
            )
    if any(ModelInfo.from_json(text) != model.info for text in texts[:, 0]):
        raise ModelError("the exported graph does not say which model it is")
    return max(differences)


def _batch(model: ServedModel, items: int) -> dict[str, Tensor]:
    """Random values for all inputs, in the sizes that the weights fix."""
    generator = torch.Generator().manual_seed(0)
    batch = {}
    for tensor in model.spec_of(model.info).inputs:
        size = (items, *tensor.dims)
        is_picture = tensor.dtype == "UINT8"
        batch[tensor.name] = (
            torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
            if is_picture
            else torch.randn(size, generator=generator)
        )
    return batch
