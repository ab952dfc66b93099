"""Compares the whole line with the bare net on the same windows: windows/s, frames/s, stage shares, peak memory.

The line runs over a video in this process, and every window's inputs to the net are kept. The bare net then scores the
same windows in batches of the same size with the same threads. Both are repeated in turn, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamfx.config.tree import Config
from streamfx.models.card import resolve_model
from streamfx.models.expression import ExpressionModel
from streamfx.nets.mma_dfer import MmaDferConfig
from streamfx.pipeline import load_config
from streamfx.runtime.worker import Worker
from streamfx.serving import in_process

Inputs = Mapping[str, np.ndarray]
FILM_KEYFRAME_S = 10
"""Seconds between keyframes of the clip: what x264 and FFmpeg choose for 25 frames a second."""


def configuration(folder: Path, video: Path, model: str, args: argparse.Namespace, run: int) -> Config:
    """The configuration of a run over the video file with the given net."""
    return load_config(
        {
            "source": {"files": {"paths": [str(video)], "chunk_s": 2.0, "start": "2026-01-01T00:00:00Z"}},
            "privacy": {
                "purpose": "benchmark",
                "deployment_context": "research",
                "stream_id_key_file": str(folder / "key"),
            },
            "sink": {"path": str(folder / f"data-{run}")},
            "expression": {"model": model},
            "serving": {
                "batch_size": args.batch,
                "threads": args.threads,
                "in_flight": 4 * args.batch,
                "device": args.device,
            },
        }
    )


def vit_b(folder: Path) -> str:
    """A model folder with the authors' sizes (ViT-B/16 at 224) and random weights, which do not affect the speed."""
    directory = folder / "vit-b"
    directory.mkdir()
    tiny = ExpressionModel.read_card(resolve_model("expression-tiny"))
    replace(tiny, name="vit-b", version="random", sizes=MmaDferConfig()).save(directory)
    return str(directory)


@contextmanager
def recording(kept: list[Inputs]) -> Iterator[None]:
    """Record the inputs that are sent to the in-process net."""
    send = in_process.InProcess.send

    def keep(self: Any, inputs: Inputs) -> Any:
        kept.append(inputs)
        return send(self, inputs)

    in_process.InProcess.send = keep  # type: ignore[method-assign]
    try:
        yield
    finally:
        in_process.InProcess.send = send  # type: ignore[method-assign]


def run_line(config: Config) -> tuple[float, dict[str, float], int]:
    """Run the line once; return its seconds without start-up, the seconds by stage, and the sampled frames."""
    worker = Worker(config)
    started = time.perf_counter()
    status = worker.run()
    took_s = time.perf_counter() - started
    return took_s, status.stage_seconds, frames_of(config.sink.path)


def frames_of(dataset: Path) -> int:
    """Number of sampled frames according to the `chunks` table."""
    import fastparquet

    return sum(
        int(fastparquet.ParquetFile(str(p)).to_pandas()["frames"].sum()) for p in dataset.glob("chunks/**/*.parquet")
    )


def run_bare(model: str, kept: list[Inputs], args: argparse.Namespace) -> float:
    """Seconds that the net alone takes for the same windows, in the same batches, with the same threads."""
    net = ExpressionModel.load(resolve_model(model), args.device).net
    with torch.inference_mode():
        forward(net, kept[:1], args)
        started = time.perf_counter()
        for at in range(0, len(kept), args.batch):
            forward(net, kept[at : at + args.batch], args)
        return time.perf_counter() - started


def forward(net: torch.nn.Module, items: list[Inputs], args: argparse.Namespace) -> None:
    """Score one batch and copy the answer to the host."""
    stacked = [
        torch.from_numpy(np.stack([item[name] for item in items])).to(args.device) for name in ("frames", "fbank")
    ]
    net(*stacked).cpu()


def waits_s(dataset: Path) -> Iterator[tuple[float, float]]:
    """For each chunk in the dataset, when it was appended (UTC seconds), and how long it took to its visible row."""
    import fastparquet

    for path in dataset.glob("chunks/**/*.parquet"):
        visible_s = path.stat().st_ctime
        for at_s in fastparquet.ParquetFile(str(path)).to_pandas()["append_time"].astype("int64") / 1e6:
            yield at_s, visible_s - at_s


def latency(folder: Path, video: Path, model: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds from a chunk's append in Kafka to its visible row, chunks published in real time."""
    topic = f"bench-{os.getpid()}"
    config = folder / "kafka.json"
    tree = {
        "source": {"kafka": {"bootstrap": args.bootstrap, "topic": topic, "group": topic}},
        "privacy": {
            "purpose": "benchmark",
            "deployment_context": "research",
            "stream_id_key_file": str(folder / "key"),
        },
        "sink": {"path": str(folder / "kafka"), "roll_chunks": 1},
        "expression": {"model": model},
    }
    config.write_text(json.dumps(tree))
    streamfx = [sys.executable, "-m", "streamfx"]
    to = ["--topic", topic, "--bootstrap", args.bootstrap]
    publisher = subprocess.Popen(
        [*streamfx, "publish", str(video), *to, "--create-topic", "1", "--chunk-s", "1", "--realtime"],
        stdout=sys.stderr,
    )
    time.sleep(3)
    subprocess.run([*streamfx, "run", str(config), "--quiet", "--until-idle", "5s"], check=True)
    publisher.wait()
    waits = [wait_s for _, wait_s in waits_s(folder / "kafka")]
    return {"chunks": len(waits), "p50_s": statistics.median(waits), "p95_s": float(np.percentile(waits, 95))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="default: the demo's clip, made on the spot")
    parser.add_argument("--seconds", type=int, default=24, help="length of that clip")
    parser.add_argument("--net", choices=["small", "vit-b"], default="small")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bootstrap", help="Kafka broker; adds the latency from chunk to visible row")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), args)
    print(json.dumps(result, indent=1) if args.json else summary(result))


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure line and bare net in turn; return the raw numbers."""
    video = args.video or folder / "clip.mp4"
    if not args.video:
        sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the clip is that of the tests
        from helpers.astronaut import make_video

        make_video(video, args.seconds, keyframe_s=FILM_KEYFRAME_S)
    model = vit_b(folder) if args.net == "vit-b" else ExpressionModel.spec.default_weights
    rounds = []
    for number in range(args.repeats):
        kept: list[Inputs] = []
        with recording(kept):
            line_s, stages, frames = run_line(configuration(folder, video, model, args, number))
        bare_s = run_bare(model, kept, args)
        rounds.append({"line_s": line_s, "bare_s": bare_s, "windows": len(kept), "frames": frames, "stage_s": stages})
        print(f"round {number + 1}/{args.repeats}: line {line_s:.2f} s, bare net {bare_s:.2f} s", file=sys.stderr)
    median = sorted(rounds, key=lambda r: r["line_s"])[len(rounds) // 2]
    whole_s = sum(median["stage_s"].values())
    result = {
        "net": args.net, "batch": args.batch, "threads": args.threads, "device": args.device,
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__},
        "windows_per_s_line": statistics.median(r["windows"] / r["line_s"] for r in rounds),
        "windows_per_s_bare": statistics.median(r["windows"] / r["bare_s"] for r in rounds),
        "line_over_bare": statistics.median(r["bare_s"] / r["line_s"] for r in rounds),
        "frames_per_s_line": statistics.median(r["frames"] / r["line_s"] for r in rounds),
        "stage_share": {stage: round(seconds / whole_s, 4) for stage, seconds in median["stage_s"].items()},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rounds": rounds,
    }  # fmt: skip
    if args.bootstrap:
        result["chunk_to_visible_row"] = latency(folder, video, model, args)
    return result


def summary(result: dict[str, Any]) -> str:
    """The main numbers as text."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in result["stage_share"].items())
    return (
        f"{result['net']}: line {result['windows_per_s_line']:.2f} windows/s "
        f"({result['frames_per_s_line']:.1f} frames/s), "
        f"bare net {result['windows_per_s_bare']:.2f} windows/s, ratio {result['line_over_bare']:.2f}; {shares}; "
        f"peak {result['peak_memory_mib']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
