"""Decoding the sampled frames of chunks, beside what PyAV itself needs for the same frames, and beside other libraries.

python benchmarks/decode.py [--rounds 7] [--json]

Each clip is cut into chunks of 2 s as a run cuts it. Then all of them are decoded in each of these ways, in turn, in an
order that rotates, on one thread, each frame to an RGB array:

ours           `PyavPictures`, with opening, validating and timing the chunk
raw            a bare loop over PyAV that decodes no more than the same frames need
raw, all       a bare loop over PyAV that decodes every frame and converts the same ones
ours, decord   `DecordPictures`, with opening, validating and timing the chunk
decord         decord's `VideoReader`, asked for these frames
torchcodec     torchcodec's `VideoDecoder`, asked for these frames; where it can be imported

Ratios are medians of the rounds' own ratios to `raw`. The clips of 720p and 1080p are drawn and encoded here, with
B-frames, a pyramid of them, and groups of 2 s. `frames_like_raw` says whether every frame is the same to the bit.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from streamfx.config.media import Media
from streamfx.errors import MissingComponent
from streamfx.media.chunk_media import open_chunk
from streamfx.media.cut import cut_video
from streamfx.media.decord_decoder import DecordPictures
from streamfx.media.pyav_decoder import PyavPictures
from streamfx.media.sampling import choose

REPO = Path(__file__).parents[1]
STORY = REPO / "streamfx" / "assets" / "story.mp4"
START_US = 1_700_000_000_000_000
MEDIA = Media(backend="pyav", threads=1)
SECONDS, FPS = 8, 30
OTHERS = ("decord", "torchcodec")


@dataclass(frozen=True)
class Task:
    """One chunk: its bytes, its start, and the numbers and times of the frames that are sampled."""

    body: bytes
    start_us: int
    numbers: tuple[int, ...]
    times: tuple[int, ...]
    frames: int


Way = Callable[[Task], Sequence[Any]]


def tasks_of(path: Path) -> list[Task]:
    """The chunks of a file, and what is sampled of each."""
    made = []
    for chunk in cut_video(path, 2.0, START_US):
        with open_chunk(chunk.body, MEDIA) as opened:
            times_us = [chunk.start_us + time_us for time_us in opened.times_us]
            numbers = tuple(n for n, _ in choose(times_us, opened.durations_us, MEDIA.sample_period_us))
            times = tuple(opened.pts[n] for n in numbers)
            made.append(Task(chunk.body, chunk.start_us, numbers, times, len(opened.pts)))
    return made


def ours(backend: Any) -> Way:
    """One of our backends, with everything that it needs to know the frames."""

    def decoded(task: Task) -> Sequence[Any]:
        with open_chunk(task.body, MEDIA) as chunk:
            times_us = [task.start_us + time_us for time_us in chunk.times_us]
            numbers = [n for n, _ in choose(times_us, chunk.durations_us, MEDIA.sample_period_us)]
            pictures: Sequence[Any] = backend.pictures(chunk, numbers, MEDIA)
            return pictures

    return decoded


def raw(task: Task) -> Sequence[Any]:
    """PyAV alone: the packets up to the last that is needed, told which frames nothing needs, and one converter."""
    made: list[Any] = []
    due = set(task.times)
    converter: Any = VideoReformatter()
    with av.open(io.BytesIO(task.body)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        last = max(number for number, packet in enumerate(packets) if packet.pts in due)
        for packet in [*packets[: last + 1], None]:
            context.skip_frame = "DEFAULT" if packet is None or packet.pts in due else "NONREF"
            for frame in context.decode(packet):
                if frame.pts in due:
                    made.append(converter.reformat(frame, format="rgb24").to_ndarray())
                    if len(made) == len(due):
                        return made
    return made


def raw_all(task: Task) -> Sequence[Any]:
    """PyAV alone, every frame."""
    made: list[Any] = []
    due = set(task.times)
    with av.open(io.BytesIO(task.body)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.pts in due:
                made.append(frame.to_ndarray(format="rgb24"))
    return made


def decord_alone(task: Task) -> Sequence[Any]:
    """decord, asked for the frames by number."""
    import decord

    reader = decord.VideoReader(io.BytesIO(task.body), num_threads=1)
    frames: Sequence[Any] = reader.get_batch(list(task.numbers)).asnumpy()
    return frames


def torchcodec_alone(task: Task) -> Sequence[Any]:
    """torchcodec, asked for the frames by number."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(task.body, dimension_order="NHWC", num_ffmpeg_threads=1)
    frames: Sequence[Any] = decoder.get_frames_at(list(task.numbers)).data.numpy()
    return frames


def ways() -> tuple[dict[str, Way], dict[str, str]]:
    """Those that this machine has, and why the others are missing."""
    found: dict[str, Way] = {"ours": ours(PyavPictures()), "raw": raw, "raw, all": raw_all}
    missing: dict[str, str] = {}
    try:
        found |= {"ours, decord": ours(DecordPictures()), "decord": decord_alone}
    except MissingComponent as error:
        missing["decord"] = str(error)
    try:
        import torchcodec.decoders  # noqa: F401

        found["torchcodec"] = torchcodec_alone
    except (ImportError, OSError, RuntimeError) as error:
        missing["torchcodec"] = f"cannot be imported here: {str(error).strip().splitlines()[0]}"
    return found, missing


def write_clip(path: Path, width: int, height: int) -> None:
    """Moving texture with noise like a camera's, as x264 encodes it by default: three B-frames in a pyramid."""
    chance = np.random.default_rng(7)
    wide = chance.integers(0, 256, (height // 8 + 40, width // 8 + 40, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    grain = chance.integers(0, 12, (height + 32, width + 32, 1), np.uint8)
    options = {"preset": "fast", "bf": "3", "b-pyramid": "normal", "g": str(2 * FPS), "crf": "23"}
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for number in range(SECONDS * FPS):
            x, y = number % 300, (number * 2) % 300
            gx, gy = chance.integers(0, 32, 2)
            picture = wide[y : y + height, x : x + width] // 2 + grain[gy : gy + height, gx : gx + width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


def run_once(way: Way, tasks: Sequence[Task]) -> dict[str, float]:
    """Seconds of CPU and of the clock for all chunks."""
    wall, cpu = time.perf_counter(), time.process_time()
    for task in tasks:
        way(task)
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def same(way: Way, tasks: Sequence[Task]) -> bool:
    """Whether every frame is that of `raw`."""
    pairs = ((way(task), raw(task)) for task in tasks)
    return all(
        len(a) == len(b) and all(np.array_equal(np.asarray(x), y) for x, y in zip(a, b, strict=True)) for a, b in pairs
    )


def measure(path: Path, found: dict[str, Way], rounds: int) -> dict[str, Any]:
    """All ways over one clip. The first call of each is for warming up, and says whether its frames are right."""
    tasks = tasks_of(path)
    alike = {name: same(way, tasks) for name, way in found.items()}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    names = list(found)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            runs[name].append(run_once(found[name], tasks))
    return {
        "chunks": len(tasks),
        "frames": sum(task.frames for task in tasks),
        "sampled": sum(len(task.numbers) for task in tasks),
        "ways": {
            name: {
                "frames_like_raw": alike[name],
                **{f"{clock}": statistics.median(one[clock] for one in runs[name]) for clock in ("cpu_s", "wall_s")},
                **{
                    f"{clock}_to_raw": statistics.median(
                        one[clock] / bare[clock] for one, bare in zip(runs[name], runs["raw"], strict=True)
                    )
                    for clock in ("cpu_s", "wall_s")
                },
                "runs": runs[name],
            }
            for name in names
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    found, missing = ways()
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": {"av": av.__version__} | {name: metadata.version(name) for name in OTHERS if name not in missing},
        "rounds": args.rounds,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "missing": missing,
        "clips": {},
    }
    with tempfile.TemporaryDirectory() as name:
        clips = {"story": STORY}
        for label, size in (("720p", (1280, 720)), ("1080p", (1920, 1080))):
            clips[label] = Path(name) / f"{label}.mp4"
            write_clip(clips[label], *size)
        for label, path in clips.items():
            print(f"{label} …", file=sys.stderr)
            result["clips"][label] = measure(path, found, args.rounds)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    for label, clip in result["clips"].items():
        print(f"{label}: {clip['sampled']} of {clip['frames']} frames")
        for way, numbers in clip["ways"].items():
            print(
                f"  {way:13} {numbers['cpu_s']:7.3f} s CPU ({numbers['cpu_s_to_raw']:.3f} of raw), "
                f"{numbers['wall_s']:7.3f} s ({numbers['wall_s_to_raw']:.3f} of raw)"
                f"{'' if numbers['frames_like_raw'] else ', other frames or pixels'}"
            )
    for package, why in missing.items():
        print(f"{package}: {why}")


if __name__ == "__main__":
    main()
