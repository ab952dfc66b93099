"""How far each stage of the line is from what one core can do at most: its operations and bytes beside measured limits.

The limits are products of large square matrices (operations) and copies of arrays that no cache holds (bytes), measured on
the same core between the stages. A stage can take no less time than its operations need at the one limit, and its bytes at the
other; `share` is the larger of the two divided by what it takes. Operations are twice the multiplications of convolutions and
linear layers; bytes are what a stage must read and write of pictures, sound and weights, each counted once. One thread; each
figure is the least of several rounds, since other work on the machine can only add to it. CPU time of the thread.

    python benchmarks/limits.py > out/bench/limits.json        # 3 minutes
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

REPO = Path(__file__).resolve().parents[1]
sys.path.append(str(REPO / "tests"))

from helpers.astronaut import make_video  # noqa: E402

from streamfx.config.media import Media  # noqa: E402
from streamfx.detection.centerface import CenterFace, free_shape, model_file  # noqa: E402
from streamfx.detection.look import look  # noqa: E402
from streamfx.media.audio import log_mel  # noqa: E402
from streamfx.media.crop import crop  # noqa: E402
from streamfx.media.cut import cut_video, plan_video  # noqa: E402
from streamfx.media.decode import open_decoder  # noqa: E402
from streamfx.models.card import resolve_model  # noqa: E402
from streamfx.models.expression import ExpressionModel  # noqa: E402
from streamfx.nets.precision import Int8Linear, instruction_sets  # noqa: E402
from streamfx.records import CropBox  # noqa: E402
from streamfx.testing import make_window  # noqa: E402

ROUNDS = 5
SIDE = 1024
COPIED = 1 << 28
SIZE, FPS, SECONDS = 384, 8, 10
BATCH = 4


def seconds(call: Callable[[], Any], repeats: int = 1) -> float:
    """The least CPU seconds of this thread for a call, over ROUNDS rounds of `repeats` calls."""
    call()
    least = math.inf
    for _ in range(ROUNDS):
        started = time.thread_time()
        for _ in range(repeats):
            call()
        least = min(least, (time.thread_time() - started) / repeats)
    return least


def limits() -> dict[str, float]:
    """Operations a second of products in three precisions, and bytes a second read and written by a copy."""
    one, other = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    half, weight = one.bfloat16(), other.bfloat16()
    linear = torch.nn.Linear(SIDE, SIDE, bias=False)
    operations = 2 * SIDE**3
    found = {
        "fp32": operations / seconds(lambda: one @ other, 4),
        "bf16": operations / seconds(lambda: half @ weight, 4),
    }
    exact = Int8Linear(linear)
    with torch.inference_mode():
        found["int8"] = operations / seconds(lambda: exact(one[None]), 4)
    source, target = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
    found["bytes"] = 2 * COPIED / seconds(lambda: np.copyto(target, source))
    return found


def detector_operations(width: int, height: int) -> int:
    """Twice the multiplications of CenterFace's convolutions for a picture of this size."""
    model = onnx.load_from_string(free_shape(model_file()))
    for dimension, side in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
        dimension.ClearField("dim_param")
        dimension.dim_value = side
    model = onnx.shape_inference.infer_shapes(model)
    values = [*model.graph.value_info, *model.graph.output]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    kernels = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            total += 2 * math.prod(shapes[node.output[0]]) * math.prod(kernels[node.input[1]][1:])
        elif node.op_type == "ConvTranspose":
            inputs = math.prod(shapes[node.input[0]])
            total += 2 * inputs * math.prod(kernels[node.input[1]][1:])
    return total


def stage(name: str, took_s: float, peaks: dict[str, float], per_window: float, **needs: float) -> dict[str, Any]:
    """One row: what a call takes, the least it could, and how often a window of the default line calls it."""
    least_s = max(amount / peaks[kind] for kind, amount in needs.items())
    bound = max(needs, key=lambda kind: needs[kind] / peaks[kind])
    return {
        "stage": name, "ms": took_s * 1e3, "least_ms": least_s * 1e3, "share": least_s / took_s, "bound_by": bound,
        "calls_per_window": per_window, "ms_per_window": took_s * 1e3 * per_window, **needs,
    }  # fmt: skip


def net(name: str, peaks: dict[str, float]) -> dict[str, Any]:
    """A shipped net on batches of BATCH windows, as the line asks it."""
    served = ExpressionModel.load(resolve_model(name), "cpu")
    inputs = ExpressionModel.inputs(make_window(side=served.info.image_size or 224), served.info)
    batch = {key: torch.from_numpy(np.stack([value] * BATCH)) for key, value in inputs.items()}
    weights = sum(tensor.numel() * tensor.element_size() for tensor in served.net.parameters())
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            served.run(batch)
        took_s = seconds(lambda: served.run(batch))
    moved = weights + sum(tensor.numel() * tensor.element_size() for tensor in batch.values())
    needs = {"fp32": counter.get_total_flops() / BATCH, "bytes": moved / BATCH}
    return stage(f"net {name}, a window of a batch of {BATCH}", took_s / BATCH, peaks, 1, **needs)


def stages(folder: Path, peaks: dict[str, float]) -> list[dict[str, Any]]:
    """Each stage of the default line on the clip of `line.py`, for pictures of 384 pixels and a hop of 1 s."""
    video = folder / "clip.mp4"
    make_video(video, SECONDS, keyframe_s=10)
    (chunk,) = cut_video(video, 2.0, 0, plan_video(video, 2.0, longest_s=12.0))
    decoder = open_decoder(Media())
    segment = decoder.decode(chunk.body, chunk.start_us)
    count, picture = len(segment.frames), np.asarray(segment.frames[0].pixels)
    yuv, rgb = SIZE * SIZE * 1.5, SIZE * SIZE * 3
    found = [
        stage(
            "decode and convert, a sampled frame", seconds(lambda: decoder.decode(chunk.body, chunk.start_us)) / count,
            peaks, FPS, bytes=len(chunk.body) / count + 25 / FPS * yuv + yuv + rgb,
        )
    ]  # fmt: skip
    whole, near = picture, np.asarray(Image.fromarray(picture).resize((128, 128)))
    for precision in ("int8", "fp32"):
        finder = CenterFace(model_file(), 1, precision)
        for words, seen, calls in (("whole picture", whole, 1), ("near a face", near, FPS - 1)):
            side = seen.shape[0]
            took_s = seconds(lambda s=seen, f=finder: look(f, s, s.shape[0], 0.5), 3)
            needs = {precision: detector_operations(side, side), "bytes": side * side * 15}
            found.append(stage(f"look, {words}, {side} px, {precision}", took_s, peaks, calls, **needs))
    box = CropBox(190.0, 190.0, 200.0, 3.0, SIZE, SIZE)
    found.append(
        stage(
            "crop of 224 px",
            seconds(lambda: crop(picture, box, 224), 20),
            peaks,
            FPS,
            bytes=200 * 200 * 3 + 224 * 224 * 3,
        )
    )
    sound = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    rows = 198
    needs = {"fp32": rows * (5 * 512 * 9 + 2 * 257 * 128), "bytes": rows * (400 + 514 + 128) * 4}
    found.append(stage("filter bank of 2 s", seconds(lambda: log_mel(sound, 16_000), 5), peaks, 1, **needs))
    return [*found, *(net(name, peaks) for name in ("expression-small", "expression-faces"))]


def main() -> None:
    """Measure and print JSON."""
    torch.set_num_threads(1)
    first = limits()
    with tempfile.TemporaryDirectory() as name:
        found = stages(Path(name), first)
    second = limits()
    peaks = {kind: max(first[kind], second[kind]) for kind in first}
    for row in found:
        row["least_ms"] = max(row[kind] / peaks[kind] for kind in peaks if kind in row) * 1e3
        row["share"] = row["least_ms"] / row["ms"]
    print(
        json.dumps({"instruction_sets": sorted(instruction_sets()), "limits_per_s": peaks, "stages": found}, indent=1)
    )


if __name__ == "__main__":
    main()
