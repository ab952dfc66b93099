"""The demo's clip: one synthetic person who talks while their expression changes, and its ground truth.

python -m streamfx.synth.story OUT_DIR     makes `story.mp4` and `story.truth.json` again
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfx.errors import StreamfxError
from streamfx.synth.actions import AUS, draw_expression
from streamfx.synth.clip import FACE_HEIGHT_DM, Actor, ClipMaker
from streamfx.synth.head import Head, load_head
from streamfx.synth.motion import Course, expression_course
from streamfx.synth.output import SetInfo, write_video
from streamfx.synth.scene import Camera
from streamfx.synth.sound import record
from streamfx.synth.visemes import mouth
from streamfx.synth.voice import RATE, Phoneme, Speaker, Speech, speak

Floats = npt.NDArray[np.float32]
Part = tuple[str, float]
"""An expression of LABELS_7 and its duration in seconds."""

PARTS: tuple[Part, ...] = (
    ("neutral", 3),
    ("happiness", 3),
    ("neutral", 3),
    ("surprise", 3),
    ("sadness", 3),
    ("anger", 3),
    ("disgust", 3),
    ("fear", 3),
)
"""What the demo's person shows; 24 s."""
SEED = 107
"""Seed of the demo's person, chosen because their expressions are easy to read.

The sets that `make weights` trains on have other seeds, so none of them holds this person.
"""
TRUTH_FPS = 5
_FPS, _SIZE = 25.0, 320
_FOCAL, _FACE_PART = 6.0, 0.62
_RISE_S, _FALL_S = 0.45, 0.45
_SHOWN, _HEARD = 1.0, 0.9
_CAMERA = Camera(blur_px=0.0, noise=0.0, gain=1.0, tint=(1.0, 1.0, 1.0), gamma=1.0, crf=27, soften=1.0)


@dataclass(frozen=True)
class Story:
    """`video` uint8 RGB [T, size, size, 3] at `fps`, `samples` float32 mono at `voice.RATE`, and the ground truth.

    The truth is (time_s, expression, intensity 0..1) at each multiple of 1 / TRUTH_FPS seconds; neutral has intensity
    0. `actions` float32 [T, len(AUS)] are the intensities (FACS, 0..5) of the action units in each frame, without what
    speech alone does to the mouth.
    """

    video: npt.NDArray[np.uint8]
    samples: Floats
    fps: float
    truth: list[tuple[float, str, float]]
    actions: Floats


def make_story(head: Head, seed: int, parts: Sequence[Part] = PARTS, fps: float = _FPS, size: int = _SIZE) -> Story:
    """One frontal person in good light with clear sound, who speaks all the time and shows `parts` one after another.

    Each expression rises from the face at rest and falls back to it within its own part. Equal arguments give equal
    stories with the same renderer and the same espeak-ng. Raises MissingComponent where one of them is not installed.
    """
    seconds = float(sum(length for _, length in parts))
    maker = ClipMaker(head, SetInfo(seed=seed, identities=1, clips=1, fps=fps, size=size, seconds=seconds))
    rng = np.random.default_rng([seed, 3])
    identity, shape = maker.identity(0)
    course = _course(maker.times, parts, identity.expressivity, rng)
    speech = _speech(Speaker.draw(rng, identity.sex, identity.age_years), parts, rng)
    track = mouth(speech, maker.times)
    units = maker.units(course, track.weights, spoken=0.7, left=1.04, right=0.97)
    place = np.array([0.0, 0.1, -FACE_HEIGHT_DM * _FOCAL / (2 * _FACE_PART)], np.float32)
    # The actor's one label and intensity have no meaning here: the parts are the ground truth.
    actor = Actor(identity, shape, "neutral", _SHOWN, course, units, list(track.names), place)
    video, _ = maker.film([actor], "normal", _FOCAL, _CAMERA, "frontal", rng)
    truth = _truth(maker.times, parts, course)
    return Story(video, record(speech.samples, "clear", rng), fps, truth, course.actions)


def write_story(story: Story, directory: Path) -> tuple[Path, Path]:
    """Write `story.mp4` and `story.truth.json` (a list of [time_s, expression, intensity]) and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    video, truth = directory / "story.mp4", directory / "story.truth.json"
    write_video(video, story.video, story.fps, _CAMERA.crf, story.samples, RATE)
    rows = ",\n".join(json.dumps([time_s, label, round(much, 3)]) for time_s, label, much in story.truth)
    truth.write_text(f"[\n{rows}\n]\n")
    return video, truth


def _course(times_s: Floats, parts: Sequence[Part], expressivity: dict[str, float], rng: np.random.Generator) -> Course:
    """A face at rest that blinks and moves all through the story, with each part's action units on top."""
    rest = expression_course(times_s, {}, 0.0, expressivity, (0.0, 0.0, 0.0), rng)
    actions, envelope, start = rest.actions.copy(), np.zeros_like(rest.envelope), 0.0
    for label, length in parts:
        for unit, amount in draw_expression(label, rng).items():
            lag = rng.normal(0, 0.05)
            moved = _hill(times_s - lag, start, start + length) * amount * expressivity[unit] * _SHOWN
            # The lids close over wide eyes too.
            actions[:, AUS.index(unit)] += moved * (1 - rest.blink) if unit == "au_05" else moved
        if label != "neutral":
            envelope += _hill(times_s, start, start + length)
        start += length
    return replace(rest, actions=np.clip(actions, 0, 5), envelope=envelope)


def _hill(times_s: Floats, start: float, end: float) -> Floats:
    """0 outside start..end, 1 inside but for a smooth rise at the start and a smooth fall at the end."""
    edge = np.clip(np.minimum((times_s - start) / _RISE_S, (end - times_s) / _FALL_S), 0, 1)
    return np.asarray(edge * edge * (3 - 2 * edge), np.float32)


def _speech(speaker: Speaker, parts: Sequence[Part], rng: np.random.Generator) -> Speech:
    """The parts' sentences one after another, each said with its part's expression."""
    said, samples, phonemes, start = [], [], [], 0.0
    for label, length in parts:
        speech = speak(speaker, label, _HEARD, rng, length)
        said.append(speech.text)
        samples.append(speech.samples)
        phonemes += [Phoneme(p.start_s + start, p.end_s + start, p.symbol) for p in speech.phonemes]
        start += length
    return Speech(np.concatenate(samples), tuple(phonemes), " ".join(said))


def _truth(times_s: Floats, parts: Sequence[Part], course: Course) -> list[tuple[float, str, float]]:
    ends = np.cumsum([length for _, length in parts])
    rows = []
    for number in range(int(ends[-1] * TRUTH_FPS)):
        time_s = number / TRUTH_FPS
        label, _ = parts[int(np.searchsorted(ends, time_s, side="right"))]
        rows.append((time_s, label, float(np.interp(time_s, times_s, course.envelope)) * _SHOWN))
    return rows


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m streamfx.synth.story OUT_DIR")
    try:
        for path in write_story(make_story(load_head(), SEED), Path(sys.argv[1])):
            print(path)
    except StreamfxError as error:
        sys.exit(f"Error: {error}")
