"""What a stream costs: CPU, memory and delay of one worker while up to a thousand streams send to a real Kafka at once.

Each stream is a camera that sends a chunk of 1 s at a steady pace, as long as a level lasts; one camera in ten sees a
face, the others an empty room. The pace is slower than a camera's, so that a thousand streams fit on one machine: what
is measured is how cost, memory and delay depend on the number of streams. The delay of a chunk is the time from its
append in Kafka to its visible row. Prints JSON and, on request, draws a picture. Exits with 1 where a row is lost.

    python benchmarks/streams.py --picture out/bench/streams.png > out/bench/streams.json      # 15 minutes
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from kafka import KafkaProducer
from PIL import Image, ImageDraw

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))
sys.path.insert(0, str(REPO / "benchmarks"))

from helpers import runs  # noqa: E402
from helpers.astronaut import make_video  # noqa: E402
from helpers.chaos import Brokers, Progress, Run, wait_for  # noqa: E402
from line import waits_s  # noqa: E402

from streamfx.media.cut import cut_video  # noqa: E402
from streamfx.source.chunk import headers_for  # noqa: E402

PARTITIONS = 8
START_US = 1_767_323_045_000_000
FACE_EVERY = 10
SAMPLE_S = 1.0
TOPIC = "streams"


def bodies(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Chunks of 1 s of a film with a face, and of one without."""
    import av

    make_video(folder / "face.mp4", 8)
    with av.open(str(folder / "empty.mp4"), "w") as container:
        track = container.add_stream("libx264", rate=25, options={"g": "25", "sc_threshold": "0"})
        track.width, track.height, track.pix_fmt = 384, 384, "yuv420p"
        ramp = np.linspace(40, 200, 384, dtype=np.uint8)
        for number in range(25 * 8):
            picture = np.repeat(np.roll(ramp, number)[None, :, None], 384, 0).repeat(3, 2)
            container.mux(track.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(track.encode(None))
    return tuple([chunk.body for chunk in cut_video(folder / f"{name}.mp4", 1.0, 0)] for name in ("face", "empty"))  # type: ignore[return-value]


class Cameras(threading.Thread):
    """`count` streams that take turns, each with a chunk every `pace_s` seconds."""

    def __init__(self, bootstrap: str, level: int, count: int, pace_s: float, films: tuple[list[bytes], list[bytes]]):
        super().__init__(name="cameras", daemon=True)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_request_size=16 << 20)
        self._level, self._count, self._pace_s, self._films = level, count, pace_s, films
        self._stop_asked = threading.Event()
        self.sent = dict.fromkeys(range(PARTITIONS), 0)
        self.late_s = 0.0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Send until `stop`, then end every stream."""
        try:
            began, number = time.monotonic(), 0
            while not self._stop_asked.is_set():
                due = began + number * self._pace_s / self._count
                wait_s = due - time.monotonic()
                if wait_s > 0:
                    self._stop_asked.wait(min(wait_s, 0.05))
                    continue
                self.late_s = max(self.late_s, -wait_s)
                self._send(number % self._count, number // self._count, end=False)
                number += 1
            for stream in range(min(self._count, number)):
                self._send(stream, (number - stream - 1) // self._count + 1, end=True)
            self._producer.flush()
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """End all streams and wait for that."""
        self._stop_asked.set()
        self.join()
        self._producer.close()
        if self.failure:
            raise self.failure

    def _send(self, stream: int, seq: int, end: bool) -> None:
        film = self._films[0 if stream % FACE_EVERY == 0 else 1]
        name, partition = f"level-{self._level}-camera-{stream}", stream // FACE_EVERY % PARTITIONS
        headers = headers_for(name, seq, START_US + seq * 1_000_000, "video/mp4", end=end)
        body = b"" if end else film[seq % len(film)]
        self._producer.send(TOPIC, body, name.encode(), list(headers), partition)
        self.sent[partition] += 1


def configuration(folder: Path, bootstrap: str) -> Path:
    """One worker in the run's own process."""
    sections = {"windows": {"idle_s": 600}, "sink": {"roll_chunks": 16, "idle_flush_s": 2}}
    config = runs.tree(folder, [], **sections)
    config["source"] = {"kafka": {"bootstrap": bootstrap, "topic": TOPIC, "group": TOPIC}}
    return runs.write_config(folder, config)


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of the process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def level(number: int, count: int, args: argparse.Namespace, films: tuple[list[bytes], list[bytes]]) -> dict[str, Any]:
    """What `count` streams cost once all of them have begun."""
    brokers = Brokers()
    with tempfile.TemporaryDirectory(prefix="streamfx-streams-") as name:
        folder = Path(name)
        try:
            brokers.create_topic(TOPIC, PARTITIONS)
            cameras = Cameras(brokers.bootstrap, number, count, args.pace_s, films)
            run = Run(configuration(folder, brokers.bootstrap), folder / "run.log")
            try:
                found = watch(cameras, run, Progress(folder / "data"), args)
            finally:
                run.end()
            done = runs.streamfx("verify", folder / "data", "--bootstrap", brokers.bootstrap, "--topic", TOPIC)
            report = json.loads(done.stdout)
            wrong = sum(len(report[what]) for what in ("gaps", "duplicates", "orphans"))
            delays = delays_s(folder / "data", found.pop("from_s"), found.pop("to_s"))
        finally:
            brokers.delete()
    return {"streams": count, **found, **delays, "rows": report["rows"], "wrong": wrong, "restarts": len(run.exits)}


def watch(cameras: Cameras, run: Run, progress: Progress, args: argparse.Namespace) -> dict[str, Any]:
    """Start the cameras, wait until each has sent twice, and sample the process for the rest of the level."""
    cameras.start()
    if not wait_for(lambda: bool(progress.ends()), 300, run):
        raise RuntimeError("the run committed nothing for 300 s")
    wait_for(lambda: False, 2 * args.pace_s, run)
    process = psutil.Process(run.process.pid)
    from_s, before_s, chunks = time.time(), cpu_s(process), sum(progress.ends().values())
    memory, lags = [], []
    while time.time() - from_s < args.seconds:
        memory.append(process.memory_info().rss / 2**20)
        lags.append(sum(cameras.sent.values()) - sum(progress.ends().values()))
        wait_for(lambda: False, SAMPLE_S, run)
    to_s, used_s = time.time(), cpu_s(process) - before_s
    chunks = sum(progress.ends().values()) - chunks
    cameras.stop()
    sent = {partition: count for partition, count in cameras.sent.items() if count}
    if not wait_for(lambda: progress.ends() == sent, 600, run):
        raise RuntimeError("the run did not commit what was sent within 600 s")
    half = len(memory) // 2
    return {
        "from_s": from_s, "to_s": to_s, "seconds": to_s - from_s,
        "chunks_per_s": chunks / (to_s - from_s),
        "cpu_cores": used_s / (to_s - from_s),
        "cpu_ms_per_chunk": 1000 * used_s / chunks,
        "rss_mib": statistics.mean(memory[half:]),
        "rss_growth_mib": statistics.mean(memory[half:]) - statistics.mean(memory[:half]),
        "lag_chunks": statistics.mean(lags),
        "cameras_late_s": cameras.late_s,
    }  # fmt: skip


def delays_s(dataset: Path, from_s: float, to_s: float) -> dict[str, float]:
    """Seconds from append to visible row of the chunks that were appended between two times."""
    waits = [wait_s for at_s, wait_s in waits_s(dataset) if from_s <= at_s <= to_s]
    return {"delay_p50_s": float(np.percentile(waits, 50)), "delay_p95_s": float(np.percentile(waits, 95))}


PANELS = (
    ("cpu_cores", "CPU cores used"),
    ("rss_mib", "resident memory, MiB"),
    ("delay_p95_s", "95th percentile of the delay from append to row, s"),
)


def draw(levels: list[dict[str, Any]], path: Path) -> None:
    """Streams to the right, one panel for each quantity, from zero up."""
    width, height, left, gap = 720, 180, 70, 40
    picture = Image.new("RGB", (width + left + 30, (height + gap) * len(PANELS) + gap), "white")
    pen = ImageDraw.Draw(picture)
    most_streams = max(one["streams"] for one in levels)
    for row, (name, words) in enumerate(PANELS):
        top = gap + row * (height + gap)
        most = 1.15 * max(one[name] for one in levels)
        pen.rectangle((left, top, left + width, top + height), outline="gray")
        pen.text((left, top - 16), words, fill="black")
        points = [
            (left + width * one["streams"] / most_streams, top + height * (1 - one[name] / most)) for one in levels
        ]
        pen.line(points, fill="navy", width=2)
        for (x, y), one in zip(points, levels, strict=True):
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill="navy")
            pen.text((x, y - 14), f"{one[name]:.3g}", fill="black", anchor="rm" if x > left + width / 2 else "lm")
            if row == len(PANELS) - 1:
                pen.text((x, top + height + 4), str(one["streams"]), fill="black", anchor="ma")
    pen.text((left + width / 2, (height + gap) * len(PANELS) + gap - 14), "streams", fill="black", anchor="ma")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def main() -> int:
    """Measure each level and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--pace-s", type=float, default=45.0, help="seconds between two chunks of a stream")
    parser.add_argument("--seconds", type=float, default=90.0, help="length of a level once all streams have begun")
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    args = parser.parse_args()
    levels = []
    with tempfile.TemporaryDirectory(prefix="streamfx-films-") as folder:
        films = bodies(Path(folder))
    for number, count in enumerate(args.streams):
        levels.append(level(number, count, args, films))
        shown = {name: round(value, 2) for name, value in levels[-1].items() if isinstance(value, float)}
        print(f"{count} streams: {shown}", file=sys.stderr)
    if args.picture:
        draw(levels, args.picture)
    x = [one["streams"] for one in levels]
    lines = {name: np.polyfit(x, [one[name] for one in levels], 1).tolist() for name in ("cpu_cores", "rss_mib")}
    result = {
        "command": f"python benchmarks/streams.py {' '.join(sys.argv[1:])}".strip(),
        "cores": os.cpu_count(),
        "pace_s": args.pace_s,
        "levels": levels,
        "a_stream_more": {name: line[0] for name, line in lines.items()} if len(levels) > 1 else None,
        "correlation": float(np.corrcoef(x, [one["cpu_cores"] for one in levels])[0, 1]) if len(levels) > 2 else None,
    }
    print(json.dumps(result, indent=1))
    return 1 if any(one["wrong"] or one["restarts"] for one in levels) else 0


if __name__ == "__main__":
    sys.exit(main())
