"""The stage that finds faces: 8 bits and looks near known faces beside 32 bits and whole pictures; CPU, recall, windows.

Films have exact truth: the scenes of `redaction_scenes.py`, in which faces of 12 to 400 pixels come, go and move, and
drawn clips of one person each, whose windows an expression model names as well. All settings see the same decoded
chunks in turn, and CPU seconds of the thread are compared. A face of the truth counts where it is large enough to be
followed, and is found where the centre of a box lies in its middle half. A third film is the clip of `line.py`, a
photograph that moves, of 384 pixels; it has no truth.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch
from redaction_scenes import FPS, Scene, add_scene_options, make_scenes
from streamfx_operators.faces import Faces, FacesConfig
from streamfx_operators.windows import Windows, WindowsConfig

from streamfx.models.card import resolve_model
from streamfx.models.expression import ExpressionModel
from streamfx.records import MICROSECONDS, Frame, Segment, TrackedFrame, Window
from streamfx.synth.output import read_set
from streamfx.testing import SAMPLE_PERIOD_US, make_context

Box = tuple[float, float, float, float]
START_US = 1_767_225_600 * MICROSECONDS
"""Event time at which each film begins, a whole second."""
REFERENCE = "fp32, whole pictures of 416 px"
SETTINGS: dict[str, dict[str, Any]] = {
    REFERENCE: {"precision": "fp32", "whole_every_s": 0.0, "detect_px": 416},
    "fp32, near faces, 416 px": {"precision": "fp32", "detect_px": 416},
    "int8, whole pictures of 416 px": {"whole_every_s": 0.0, "detect_px": 416},
    "int8, whole pictures": {"whole_every_s": 0.0},
    "int8, near faces": {},
}
"""What differs from the defaults."""


@dataclass
class Film:
    """Sampled frames, chunks of two seconds, and the boxes of the faces that each sampled frame shows."""

    segments: list[Segment]
    truth: dict[int, list[Box]]
    expression: str | None = None
    """What the film's one person shows."""


@dataclass
class Found:
    """What one setting finds in all films."""

    frames: int = 0
    faces: int = 0
    found: int = 0
    tracks: int = 0
    windows: list[Window] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    """The expression of each window, of films that have one."""


def film_of(path: Path, boxes: dict[int, list[Box]], fps: float) -> Film:
    """A film decoded at the points of the sampling grid, with the truth of the frames shown there."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames, truth = [], {}
    for number in range(int(len(pictures) / fps * MICROSECONDS / SAMPLE_PERIOD_US)):
        sample_us = START_US + number * SAMPLE_PERIOD_US + SAMPLE_PERIOD_US // 2
        at = int((sample_us - START_US) * fps / MICROSECONDS)
        shown_us = round(at * MICROSECONDS / fps)
        frames.append(Frame(START_US + shown_us, round(MICROSECONDS / fps), sample_us, pictures[at]))
        truth[sample_us] = boxes.get(at, [])
    parts = [frames[at : at + 16] for at in range(0, len(frames), 16)]
    return Film([Segment(p[0].time_us, p[-1].time_us + p[-1].duration_us, p, None, len(p)) for p in parts], truth)


def scenes(found: Sequence[Scene]) -> Iterator[Film]:
    """The redaction benchmark's scenes."""
    for scene in found:
        boxes = {n: [box for _, box, _ in faces] for n, faces in enumerate(scene.faces)}
        yield film_of(scene.path, boxes, FPS)


def clips(directory: Path, most: int) -> Iterator[Film]:
    """Clips of a finished set of `streamfx synth`."""
    info, rows, frames = read_set(directory)
    for clip in list(rows["clip"])[:most]:
        own = frames[frames["clip"] == clip]
        boxes = {
            int(number): [(r.box_x0, r.box_y0, r.box_x1, r.box_y1) for r in table.itertuples()]
            for number, table in own.groupby("frame")
        }
        film = film_of(directory / "clips" / f"{clip}.mp4", boxes, info.fps)
        film.expression = str(own["expression"].iloc[len(own) // 2])
        yield film


def line_clip(folder: Path) -> Film:
    """The clip of `line.py`."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the clip is that of the tests
    from helpers.astronaut import make_video

    make_video(folder / "line.mp4", 24, keyframe_s=10)
    return film_of(folder / "line.mp4", {}, FPS)


def watch(film: Film, setting: dict[str, Any], into: Found) -> float:
    """Find the faces of a film, count what is found, and return the CPU seconds of the stage."""
    faces, windows = Faces(FacesConfig(**setting), make_context()), Windows(WindowsConfig(), make_context())
    took_s, tracks, closed = 0.0, set(), list[Window]()
    for offset, segment in enumerate(film.segments):
        began = time.thread_time()
        tracked = faces.track("film", offset, segment)
        took_s += time.thread_time() - began
        closed += windows.add("film", offset, segment, tracked)
        for frame in tracked:
            tracks |= {(face.birth_us, face.birth_index) for face in frame.faces}
            _count(frame, film.truth[frame.frame.sample_us], into)
    closed += windows.end_stream("film", len(film.segments))
    into.windows += closed
    into.wanted += [film.expression] * len(closed) if film.expression else []
    into.tracks += len(tracks)
    return took_s


def _count(frame: TrackedFrame, truth: Sequence[Box], into: Found) -> None:
    into.frames += 1
    least = FacesConfig().min_face_px
    for x0, y0, x1, y1 in truth:
        if y1 - y0 < least:
            continue
        into.faces += 1
        into.found += any(
            abs(face.box.center_x - (x0 + x1) / 2) <= (x1 - x0) / 4
            and abs(face.box.center_y - (y0 + y1) / 2) <= (y1 - y0) / 4
            for face in frame.faces
        )


def named(model: ExpressionModel, windows: Sequence[Window]) -> list[str]:
    """What the model calls each window, without its sound."""
    said = []
    for window in windows:
        inputs = {
            name: torch.from_numpy(value[None].copy()) for name, value in model.inputs(window, model.info).items()
        }
        said.append(model.info.labels[int(model.run(inputs)["logits"][0].argmax())])
    return said


def measure(films: dict[str, list[Film]], rounds: int) -> dict[str, Any]:
    """Each kind of film with all settings in turn; the counts are of the last round, and alike in all."""
    model = ExpressionModel.load(resolve_model(ExpressionModel.spec.default_weights))
    result: dict[str, Any] = {"machine": {"cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()}}
    for kind, some in films.items():
        seen: dict[str, Found] = {}
        spent: dict[str, list[float]] = {name: [] for name in SETTINGS}
        for number in range(rounds):
            for name in SETTINGS if number % 2 else reversed(SETTINGS):
                seen[name] = Found()
                spent[name].append(sum(watch(film, SETTINGS[name], seen[name]) for film in some))
        result[kind] = {
            name: {
                "cpu_ms_per_frame": 1e3 * statistics.median(spent[name]) / one.frames,
                "times_faster": statistics.median(a / b for a, b in zip(spent[REFERENCE], spent[name], strict=True)),
                "recall": one.found / one.faces if one.faces else None, "faces": one.faces, "frames": one.frames,
                "windows": len(one.windows), "tracks": one.tracks, "cpu_s": spent[name],
            }
            for name, one in seen.items()
        }  # fmt: skip
        for name, one in seen.items():
            if one.wanted:
                said = named(model, one.windows)
                result[kind][name]["named_right"] = statistics.fmean(map(operator.eq, said, one.wanted))
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_scene_options(parser, scenes=6)
    parser.add_argument("--talkers", type=Path, help="finished set of one-person clips; default: the scenes' own clips")
    parser.add_argument("--most", type=int, default=64, help="clips of that set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        drawn = make_scenes(args, Path(name))
        films = {
            "scenes": list(scenes(drawn)),
            "the line's clip": [line_clip(Path(name))],
            "talkers": list(clips(args.talkers or (args.set or [Path(name) / f"set-{args.seed[0]}"])[0], args.most)),
        }
        result = measure(films, args.rounds)
    print(json.dumps(result, indent=1) if args.json else summary(result, films))


def summary(result: dict[str, Any], kinds: Iterable[str]) -> str:
    """The main numbers as text."""
    return "\n".join(
        f"{kind}, {name}: {one['cpu_ms_per_frame']:.2f} ms a frame, {one['times_faster']:.2f} times as fast; "
        f"{one['windows']} windows, {one['tracks']} tracks"
        + (f", {one['recall']:.3f} of {one['faces']} faces found" if one["faces"] else "")
        + (f", {one['named_right']:.3f} of the windows named right" if "named_right" in one else "")
        for kind in kinds
        for name, one in result[kind].items()
    )


if __name__ == "__main__":
    main()
