"""What a GPU gives, in one command of at most eight minutes: decoding, the detector, each net, and the limits beside them.

Each part says what it measured, or why it could not. Products of matrices and copies are measured first; a net's figure is
also given as a share of that limit, by the floating-point operations that torch counts. `--device cpu` runs the same code
in small on a machine without a GPU, to try it; its figures mean nothing. Docs: docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode import ours, tasks_of, write_clip
from torch.utils.flop_counter import FlopCounterMode

from streamfx.detection.centerface import shared_detector
from streamfx.media.pyav_decoder import PyavPictures
from streamfx.models.base import ServedModel
from streamfx.models.card import resolve_model
from streamfx.models.find import find_model, installed_models
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS, FRAMES, MmaDfer, MmaDferConfig
from streamfx.nets.precision import at_precision
from streamfx.testing import make_window

Call = Callable[[], Any]


class Bench:
    """One device, how much is done on it, and when to stop."""

    def __init__(self, device: str, until_s: float):
        self.device, self.small, self._until_s = device, device == "cpu", until_s

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() > self._until_s

    def wait(self) -> None:
        """Until the device has done what it was asked for."""
        if not self.small:
            torch.cuda.synchronize()

    def seconds(self, call: Call) -> float:
        """Median seconds of a call, after two that only warm up."""
        times = []
        for number in range(4 if self.small else 12):
            self.wait()
            began = time.perf_counter()
            call()
            self.wait()
            if number > 1:
                times.append(time.perf_counter() - began)
        return statistics.median(times)


def limits(bench: Bench) -> dict[str, float]:
    """TFLOP/s of products of square matrices, and GB/s of copies."""
    found = {}
    side = 512 if bench.small else 8192
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        one, other = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        found[f"matmul_{name}_tflop_per_s"] = 2 * side**3 / bench.seconds(lambda a=one, b=other: a @ b) / 1e12
    size = 2**22 if bench.small else 2**28
    host = torch.empty(size, dtype=torch.uint8, pin_memory=not bench.small)
    there, too = (torch.empty(size, dtype=torch.uint8, device=bench.device) for _ in range(2))
    for name, target, source in (
        ("to_device", there, host),
        ("from_device", host, there),
        ("within_device", too, there),
    ):
        found[f"copy_{name}_gb_per_s"] = size / bench.seconds(lambda a=target, b=source: a.copy_(b)) / 1e9
    return found


def big_net(bench: Bench, peak: dict[str, float]) -> dict[str, Any]:
    """MMA-DFER in the authors' sizes: windows/s in float32, bfloat16, compiled, and replayed as one CUDA graph."""
    sizes = MmaDferConfig(image_size=48, dim=96, depth=2, heads=4) if bench.small else MmaDferConfig()
    batch = 1 if bench.small else 8

    def fresh(precision: str) -> torch.nn.Module:
        net = MmaDfer(sizes).eval().requires_grad_(False)
        net.initialise(1)
        return at_precision(net.to(bench.device), precision)

    frames = torch.randint(0, 256, (batch, FRAMES, 3, sizes.image_size, sizes.image_size), dtype=torch.uint8)
    clip = frames.to(bench.device), torch.randn(batch, 1, FBANK_ROWS, FBANK_BINS, device=bench.device)
    exact = fresh("fp32")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        wanted = exact(*clip)
    flops = counter.get_total_flops()
    ways: dict[str, Callable[[], tuple[Call, str]]] = {
        "fp32": lambda: (lambda: exact(*clip), "fp32"),
        "bf16": lambda: (_called(fresh("bf16"), clip), "bf16"),
        "bf16, compiled": lambda: (_called(torch.compile(fresh("bf16")), clip), "bf16"),
        "bf16, CUDA graph": lambda: (_graph(fresh("bf16"), clip, bench), "bf16"),
    }
    found: dict[str, Any] = {"batch": batch, "gflop_per_window": flops / batch / 1e9}
    for name, make in ways.items():
        found[name] = tried(bench, name, lambda make=make: _one_way(bench, make, wanted, flops, batch, peak))  # type: ignore[misc]
    return found


def _called(net: Any, clip: tuple[torch.Tensor, ...]) -> Call:
    return lambda: net(*clip)


def _one_way(bench: Bench, make: Any, wanted: torch.Tensor, flops: int, batch: int, peak: dict[str, float]) -> Any:
    call, precision = make()
    with torch.inference_mode():
        difference = float((call() - wanted).abs().max())
        took_s = bench.seconds(call)
    share = flops / took_s / 1e12 / peak[f"matmul_{precision}_tflop_per_s"]
    return {"windows_per_s": batch / took_s, "share_of_matmul": share, "logits_largest_difference": difference}


def _graph(net: Any, clip: tuple[torch.Tensor, ...], bench: Bench) -> Call:
    if bench.small:
        raise RuntimeError("there are CUDA graphs on a GPU only")
    with torch.inference_mode():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                net(*clip)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            answer = net(*clip)

    def replay() -> torch.Tensor:
        graph.replay()
        return answer

    return replay


def shipped(bench: Bench, model: type[ServedModel]) -> dict[str, Any]:
    """Windows/s of the weights that ship with a served model, copies of inputs and answers included, by batch."""
    found: dict[str, Any] = {}
    directory = resolve_model(model.spec.default_weights, model.shelf)
    for precision in ("fp32", "bf16"):
        served = model.load(directory, bench.device, precision)  # type: ignore[arg-type]
        window = make_window(side=served.info.image_size or 112)
        inputs = model.inputs(window, served.info)
        for batch in (1, 4) if bench.small else (1, 8, 32):
            together = {name: torch.from_numpy(np.stack([value] * batch)) for name, value in inputs.items()}
            took_s = bench.seconds(lambda served=served, inputs=together: served.run(inputs))
            found[f"{served.info.precision}, {batch} at once"] = batch / took_s
    return found


def detector(bench: Bench) -> dict[str, Any]:
    """Pictures/s of CenterFace in 32 bits, one at a time, as the line asks it; and which provider answered."""
    centerface = shared_detector(1)
    picture = np.random.default_rng(1).integers(0, 256, (288, 512, 3), np.uint8)
    took_s = bench.seconds(lambda: centerface.detect(picture, 0.5))
    return {"pictures_per_s": 1 / took_s, "providers": centerface._session.get_providers()}


def decoding(bench: Bench, folder: Path) -> dict[str, Any]:
    """Frames/s that are sampled from a 1080p clip, and frames/s of the film, by NVDEC and by PyAV."""
    width, height = (320, 192) if bench.small else (1920, 1080)
    write_clip(folder / "clip.mp4", width, height)
    tasks = tasks_of(folder / "clip.mp4")
    sampled = sum(len(task.numbers) for task in tasks)
    found: dict[str, Any] = {"size": [width, height], "sampled": sampled}

    def measured(way: Any) -> dict[str, float]:
        took_s = bench.seconds(lambda: [way(task) for task in tasks])
        return {"sampled_per_s": sampled / took_s, "chunks_per_s": len(tasks) / took_s}

    def nvdec() -> dict[str, float]:
        from streamfx.media.gpu_decoder import GpuPictures

        return measured(ours(GpuPictures()))

    found["pyav"] = tried(bench, "PyAV", lambda: measured(ours(PyavPictures())))
    found["nvdec"] = tried(bench, "NVDEC", nvdec)
    return found


def line(bench: Bench, net: str) -> Any:
    """The whole line over a file with its nets on the device."""
    command = [sys.executable, str(Path(__file__).with_name("line.py")), "--json", "--repeats", "1", "--net", net]
    more = ["--seconds", "4"] if bench.small else ["--device", "cuda", "--batch", "16"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=150, check=True)
    return json.loads(done.stdout)


def tried(bench: Bench, name: str, measure: Callable[[], Any]) -> Any:
    """What a part measures; where it fails or the time is used up, a sentence."""
    if bench.over:
        return {"not_measured": "the time was used up"}
    print(name, file=sys.stderr)
    try:
        return measure()
    except Exception as error:  # one part must not cost the others
        return {"not_measured": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--minutes", type=float, default=7.0, help="no part begins after this")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu.py: expected a CUDA device, and torch finds none; --device cpu tries the code in small")
    bench = Bench(args.device, time.monotonic() + 60 * args.minutes)
    device = "cpu" if bench.small else torch.cuda.get_device_name()
    result: dict[str, Any] = {"device": device, "torch": torch.__version__, "limits": limits(bench)}
    result["mma_dfer"] = tried(bench, "MMA-DFER in the authors' sizes", lambda: big_net(bench, result["limits"]))
    for name in sorted(installed_models()):
        result[name] = tried(bench, name, lambda name=name: shipped(bench, find_model(name)))
    result["centerface"] = tried(bench, "CenterFace", lambda: detector(bench))
    with tempfile.TemporaryDirectory() as folder:
        result["decoding"] = tried(bench, "decoding", lambda: decoding(bench, Path(folder)))
    for net in ("small",) if bench.small else ("small", "vit-b"):
        result[f"line, {net}"] = tried(bench, f"line, {net}", lambda net=net: line(bench, net))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
