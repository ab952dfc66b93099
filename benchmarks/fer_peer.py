"""Video in, expressions out: `streamfx run` beside the package `fer`, whole commands in turn, in CPU time.

`fer` (PyPI, MIT) names an expression for each picture alone, finding faces by MTCNN or, as is its default, by OpenCV's
cascade. It looks at every third frame of a film of 25 frames a second, streamfx at 8 frames a second; both see every face.
Films of two lengths are run, so that what a command costs before its first frame is told from what a second of film costs.
streamfx also hears the sound, follows tracks and commits its rows. fer needs an environment of its own, since it pins
another torch and brings TensorFlow (7.5 GB):

    python3 -m venv /tmp/fer && /tmp/fer/bin/pip install fer==25.10.3
    python benchmarks/fer_peer.py --fer /tmp/fer/bin/python > out/bench/fer-peer.json      # 15 minutes
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from helpers import runs  # noqa: E402
from helpers.astronaut import make_video  # noqa: E402

EVERY = 3
"""Frames from one look of fer to the next."""
FER = """
import json, sys
import cv2
from fer.fer import FER
film, every, mtcnn = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "mtcnn"
detector, capture = FER(mtcnn=mtcnn), cv2.VideoCapture(film)
frames = looks = found = 0
while True:
    there, frame = capture.read()
    if not there:
        break
    if frames % every == 0:
        looks += 1
        found += bool(detector.detect_emotions(frame))
    frames += 1
print(json.dumps({"frames": frames, "looks": looks, "with_a_face": found}))
"""


def measured(command: list[str]) -> tuple[float, str]:
    """CPU seconds of a command with its children, and its standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[:3]} failed: {done.stderr[-800:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def by_fer(python: str, film: Path, finder: str) -> dict[str, Any]:
    """What fer costs for a film, and what it found."""
    cpu_s, printed = measured([python, "-c", FER, str(film), str(EVERY), finder])
    return {"cpu_s": cpu_s, **json.loads(printed.strip().splitlines()[-1])}


def by_streamfx(film: Path, folder: Path) -> dict[str, Any]:
    """What streamfx's default line costs for a film, and what it found."""
    folder.mkdir()
    config = runs.write_config(folder, runs.tree(folder, [film]))
    cpu_s, _ = measured([sys.executable, "-m", "streamfx", "run", str(config), "--quiet"])
    looks = sum(row["frames"] for row in runs.rows(folder / "data", "chunks"))
    return {"cpu_s": cpu_s, "looks": looks, "windows": len(runs.rows(folder / "data", "windows"))}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer", required=True, help="the Python of an environment with fer")
    parser.add_argument("--seconds", type=int, nargs=2, default=[4, 12], help="lengths of the two films")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ways = ("streamfx", "fer mtcnn", "fer cascade")
    found: dict[str, list[list[dict[str, Any]]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="streamfx-fer-") as name:
        folder = Path(name)
        films = []
        for seconds in args.seconds:
            films.append(folder / f"film-{seconds}.mp4")
            make_video(films[-1], seconds, keyframe_s=10)
        for number in range(args.rounds):
            for way in ways[number % 3 :] + ways[: number % 3]:
                if way == "streamfx":
                    pair = [by_streamfx(film, folder / f"{number}-{film.stem}") for film in films]
                else:
                    pair = [by_fer(args.fer, film, way.split()[1]) for film in films]
                found[way].append(pair)
                print(f"round {number + 1}/{args.rounds}, {way}: {pair}", file=sys.stderr)
    longer_s = args.seconds[1] - args.seconds[0]
    of_a_second = {
        way: [(long["cpu_s"] - short["cpu_s"]) / longer_s for short, long in pairs] for way, pairs in found.items()
    }
    result = {
        "command": f"python benchmarks/fer_peer.py {' '.join(sys.argv[1:])}",
        "cores": os.cpu_count(),
        "cpu_s_per_second_of_film": {way: statistics.median(values) for way, values in of_a_second.items()},
        "times_streamfx": {
            way: sorted(other / own for other, own in zip(of_a_second[way], of_a_second["streamfx"], strict=True))
            for way in ways[1:]
        },
        "runs": found,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
