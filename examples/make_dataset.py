"""Makes `examples/dataset` anew: drawn people before three cameras, through the whole line. Needs the renderer and espeak-ng.

python examples/make_dataset.py OUT     OUT/dataset is the dataset; clips that OUT has already are not drawn again
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.head import load_head
from streamfx.synth.story import Part, make_story, write_story

CAMERAS = ("entrance", "hall", "ward")
PEOPLE = 7
"""Before each camera, one after another."""
FIRST_SEED = 40_000
"""Seeds of people that no model was trained on."""
START = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
"""Half an hour before the clocks of the EU are put back: local times from 02:00 to 03:00 come twice."""
EVERY = timedelta(minutes=9)
SECONDS, SHORTEST_S, LONGEST_S = 11.0, 2.5, 5.0
FPS, SIZE = 8.0, 176


def parts_of(seed: int) -> list[Part]:
    """Expressions, each of another kind than the one before, and how long each is shown."""
    rng = np.random.default_rng([seed, 19])
    parts: list[Part] = []
    while sum(length for _, length in parts) < SECONDS:
        others = [label for label in LABELS_7 if not parts or label != parts[-1][0]]
        parts.append((str(rng.choice(others)), round(float(rng.uniform(SHORTEST_S, LONGEST_S)), 2)))
    return parts


def draw(folder: Path) -> None:
    """Draw the clips that are not in the folder yet: `<seed>.mp4`."""
    head = load_head()
    for seed in range(FIRST_SEED, FIRST_SEED + PEOPLE * len(CAMERAS)):
        if not (folder / f"{seed}.mp4").exists():
            video, _ = write_story(make_story(head, seed, parts_of(seed), FPS, SIZE), folder / "_unfinished")
            video.replace(folder / f"{seed}.mp4")


def streamfx(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "streamfx", *map(str, words)], check=True)


def cut(clips: Path, folder: Path) -> None:
    """Cut each camera's clips into one folder of chunks: a stream of people with nobody between them."""
    for number, camera in enumerate(CAMERAS):
        stream = folder / camera
        stream.mkdir(parents=True)
        seq = 0
        for turn in range(PEOPLE):
            start = START + turn * EVERY + timedelta(minutes=2 * number)
            clip = clips / f"{FIRST_SEED + number * PEOPLE + turn}.mp4"
            streamfx("publish", clip, "--to", folder / "_one", "--start", start.isoformat(), "--stream-id", camera)
            for old in range(len(list((folder / "_one" / camera).glob("*.json")))):
                headers = json.loads((folder / "_one" / camera / f"{old}.json").read_text())
                headers["streamfx-seq"] = str(seq)
                if turn < PEOPLE - 1:
                    headers.pop("streamfx-end", None)
                (stream / f"{seq}.json").write_text(json.dumps(headers))
                (folder / "_one" / camera / f"{old}.mp4").replace(stream / f"{seq}.mp4")
                seq += 1
            shutil.rmtree(folder / "_one")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    draw(out)
    for old in ("chunks", "dataset"):
        shutil.rmtree(out / old, ignore_errors=True)
    cut(out, out / "chunks")
    values = {
        "source.files.paths": json.dumps([str(out / "chunks" / camera) for camera in CAMERAS]),
        "pipeline": "[faces, windows, expression, action_units, redact]",
        "redact.preview_dir": "null",
        "privacy.purpose": "Examples for analysts; the people are drawn",
        "privacy.stream_id_key_file": out / "stream_id.key",
        "sink.path": out / "dataset",
        "sink.roll_event_s": 7200,  # one entry and one file of each table a camera
        "sink.idle_flush_s": 600,
    }
    streamfx("run", "quickstart", *(word for key, value in values.items() for word in ("--set", f"{key}={value}")))
    streamfx("episodes", out / "dataset")
    streamfx("verify", out / "dataset")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
