"""CenterFace with 8-bit weights and activations, made by ONNX Runtime's quantiser at the first start.

Its activations' ranges were measured on drawings (`streamfx/train/detector_ranges.py`) and lie in a file beside this one;
nothing is measured at a start. It takes a second, so the net is kept in the Python environment. A CPU without VNNI
instructions cuts sums of products at 16 bits; there the weights have 7 bits, so that nothing is cut.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from streamfx.errors import ModelError
from streamfx.nets.precision import VNNI, instruction_sets
from streamfx.whole_files import write_whole

RANGES_FILE = Path(__file__).with_name("centerface_ranges.json")
OPSET = 13
"""The first version of ONNX's operators that knows a scale for each channel."""

EXACT = 10, 9
"""So many nodes at the beginning and at the end of the net keep 32 bits: they cost little, and decide most."""

Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest value of each tensor, by its name in the prepared net."""


def int8_net(model: bytes) -> bytes:
    """As `to_int8`, from the Python environment where an earlier start could keep it there."""
    narrow = not VNNI & set(instruction_sets())
    ranges = RANGES_FILE.read_text(encoding="utf-8")
    decides = [hashlib.sha256(model).hexdigest(), ranges, onnxruntime.__version__, EXACT, narrow]
    digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
    kept = Path(sys.prefix) / "share" / "streamfx" / f"centerface-int8-{digest}.onnx"
    with suppress(OSError):
        return kept.read_bytes()
    data = to_int8(model, narrow)
    with suppress(OSError):  # an environment that cannot be written to
        write_whole(kept, data)
    return data


def prepared(model: bytes) -> onnx.ModelProto:
    """The net with its batch norms folded into its weights, each node named by its output, ready to be quantised."""
    newer = onnx.version_converter.convert_version(onnx.load_from_string(model), OPSET)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "net.onnx")
        onnxruntime.InferenceSession(newer.SerializeToString(), options, providers=["CPUExecutionProvider"])
        net = onnx.load(options.optimized_model_filepath)
    for node in net.graph.node:
        node.name = node.output[0]
    return net


def to_int8(model: bytes, narrow: bool) -> bytes:
    """An ONNX net that computes in 8 bits what CenterFace, given as ONNX, computes in 32; `narrow`: with weights of 7 bits.

    Raises ModelError where ONNX Runtime prepares the net so differently that the ranges do not fit.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    net = prepared(model)
    known: Ranges = json.loads(RANGES_FILE.read_text(encoding="utf-8"))
    missing = sorted(tensors(net) - known.keys())
    if missing:
        raise ModelError(
            f"{RANGES_FILE.name} has no range for {len(missing)} tensors of CenterFace, such as {missing[0]!r}: this "
            "onnxruntime prepares the net differently; set faces.precision: fp32, or install the onnxruntime that "
            "requirements/worker-constraints.txt names"
        )
    spans = {name: (np.float32(low), np.float32(high)) for name, (low, high) in known.items()}
    quantizer = QDQQuantizer(
        net,
        per_channel=True,
        reduce_range=narrow,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, spans),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in (*net.graph.node[: EXACT[0]], *net.graph.node[-EXACT[1] :])],
        op_types_to_quantize=sorted({node.op_type for node in net.graph.node}),
        extra_options={},
    )
    quantizer.quantize_model()
    data: bytes = quantizer.model.model.SerializeToString()
    return data


def tensors(net: onnx.ModelProto) -> set[str]:
    """Names of all that the nodes of a prepared net give, and of its input."""
    return {name for node in net.graph.node for name in node.output} | {value.name for value in net.graph.input}
