"""Makes one synthetic clip: draws its people and scene, then its frames, its sound and the ground truth about both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.actions import AUS, at_rest, draw_expression, moved_by, viseme_matrix
from streamfx.synth.backdrop import BACKGROUNDS, draw_background
from streamfx.synth.head import Head
from streamfx.synth.looks import Identity, draw_identity
from streamfx.synth.motion import Course, expression_course, quiet_mouth
from streamfx.synth.output import SetInfo
from streamfx.synth.patches import hexed
from streamfx.synth.pose import Poser
from streamfx.synth.render import Drawn, Renderer
from streamfx.synth.scene import (
    LIGHTS,
    SOURCES,
    Camera,
    draw_camera,
    draw_light,
    draw_occluder,
    exposed,
    put_occluder,
    see,
)
from streamfx.synth.sound import record
from streamfx.synth.traits import Traits
from streamfx.synth.visemes import VISEMES, mouth
from streamfx.synth.voice import RATE, Speaker, Speech, speak

Floats = npt.NDArray[np.float32]

KINDS = {"frontal": 0.80, "turned": 0.08, "several": 0.05, "occluded": 0.05, "empty": 0.02}
"""What clips show, and how often."""
FACE_HEIGHT_DM = 2.0


NO_TRAITS: dict[str, Any] = {
    field.name: {"str": None, "float": 0.0, "bool": False}[str(field.type)] for field in fields(Traits)
}
"""Traits in the row of a clip that shows nobody."""


@dataclass(frozen=True)
class Clip:
    """`video` uint8 RGB [T, size, size, 3]; `samples` float32 mono at `voice.RATE`; `row`, `frames`: ground truth."""

    row: dict[str, Any]
    frames: list[dict[str, Any]]
    video: npt.NDArray[np.uint8]
    samples: Floats
    crf: int


@dataclass(frozen=True)
class Setting:
    """Where a clip is filmed: one of `scene.SOURCES` of light, and one of `backdrop.BACKGROUNDS`."""

    source: str
    background: str


def draw_setting(rng: np.random.Generator) -> Setting:
    """A random setting; the sun and the sky light what is outdoors, and nothing else."""
    background = str(rng.choice([*BACKGROUNDS], p=[*BACKGROUNDS.values()]))
    if background == "outdoors":
        return Setting("outdoors", background)
    indoors = {source: share for source, share in SOURCES.items() if source != "outdoors"}
    shares = np.array([*indoors.values()])
    return Setting(str(rng.choice([*indoors], p=shares / shares.sum())), background)


@dataclass(frozen=True)
class Actor:
    """One face of a clip: its person and how it moves; `place` is the face's middle in camera space, decimetres."""

    identity: Identity
    shape: Floats
    expression: str
    intensity: float
    course: Course
    units: Floats
    visemes: list[str]
    place: Floats


class ClipMaker:
    """Makes the clips of a plan, in any order; each depends only on the plan's seed and its own number.

    `times` [T] are the seconds of a clip's frames; `identity(k)` is person k of the plan, 0 <= k < plan.identities, and
    their head at rest [V, 3].
    """

    def __init__(self, head: Head, plan: SetInfo):
        self._head = head
        self._plan = plan
        kinds: dict[str, float] = {kind: KINDS[kind] for kind in plan.only or KINDS}
        self._kinds = {kind: share / sum(kinds.values()) for kind, share in kinds.items()}
        self._renderer = Renderer(head, plan.size)
        self.times: Floats = (np.arange(round(plan.seconds * plan.fps)) / plan.fps).astype(np.float32)
        self._visemes = viseme_matrix(head, VISEMES)
        self._points = _Points.of(head)
        self._poser = Poser(head)
        self.identity: Callable[[int], tuple[Identity, Floats]] = lru_cache(maxsize=4)(self._draw_identity)

    def name(self, index: int) -> str:
        """The name of a clip."""
        return f"s{self._plan.seed}-{index:06d}"

    def make(self, index: int) -> Clip:
        """The clip with this number, 0 <= index < plan.clips."""
        plan = self._plan
        rng = np.random.default_rng([plan.seed, 1, index])
        kind = str(rng.choice([*self._kinds], p=[*self._kinds.values()]))
        light_kind = str(rng.choice(LIGHTS, p=[0.3, 0.4, 0.15, 0.15]))
        speech, sound = None, str(rng.choice(["clear", "noisy", "silent"], p=[0.7, 0.22, 0.08]))
        focal = float(rng.uniform(3.5, 8))
        actors: list[Actor] = []
        for place in self._places(kind, focal, rng):
            first = not actors
            who = index * plan.identities // plan.clips if first else int(rng.integers(plan.identities))
            actor, said = self._actor(who, index if first else None, kind, place, sound, rng)
            actors.append(actor)
            speech = speech or said
        samples = speech.samples if speech else np.zeros(round(plan.seconds * RATE), np.float32)
        camera = draw_camera(rng)
        setting = draw_setting(rng)
        video, frames = self.film(actors, light_kind, focal, camera, kind, rng, setting)
        name = self.name(index)
        row = self._row(name, index, kind, actors, light_kind, sound, frames, speech)
        row |= {"light_source": setting.source, "background": setting.background}
        row |= {key: getattr(camera, key) for key in ("crf", "defocus", "noise", "vignette")}
        frames = [{"clip": name, **frame} for frame in frames]
        return Clip(row, frames, video, record(samples, sound, rng), camera.crf)

    def _draw_identity(self, number: int) -> tuple[Identity, Floats]:
        rng = np.random.default_rng([self._plan.seed, 0, number])
        identity = draw_identity(self._head, f"s{self._plan.seed}-i{number}", rng)
        return identity, self._head.shaped(identity.weights)

    def label(self, index: int) -> str:
        """The clip's expression. They come in shuffled rounds, so that every seven clips hold each of them once."""
        order = np.random.default_rng([self._plan.seed, 2, index // len(LABELS_7)]).permutation(len(LABELS_7))
        return LABELS_7[int(order[index % len(LABELS_7)])]

    def _places(self, kind: str, focal: float, rng: np.random.Generator) -> list[Floats]:
        """Positions of the middles of the faces in camera space, decimetres."""
        if kind == "empty":
            return []
        count = int(rng.integers(2, 4)) if kind == "several" else 1
        part = rng.uniform(0.24, 0.36) if count > 1 else rng.uniform(0.34, 0.78)
        distance = FACE_HEIGHT_DM * focal / (2 * part)
        reach = distance / focal
        if count == 1:
            spare = max(0.0, 0.85 - part) * reach
            return [np.array([rng.uniform(-spare, spare) * 0.7, rng.uniform(-0.4, 0.7) * spare, -distance], np.float32)]
        across = (np.arange(count) - (count - 1) / 2) * 1.9 * reach / count
        return [
            np.array([x, rng.uniform(-0.2, 0.3) * reach, -distance * rng.uniform(0.95, 1.2)], np.float32)
            for x in rng.permutation(across)
        ]

    def _actor(
        self, who: int, index: int | None, kind: str, place: Floats, sound: str, rng: np.random.Generator
    ) -> tuple[Actor, Speech | None]:
        identity, shape = self.identity(who)
        label = self.label(index) if index is not None else str(rng.choice(LABELS_7))
        intensity = float(np.clip(rng.choice([0.65, 0.85, 1.0], p=[0.1, 0.2, 0.7]) + rng.normal(0, 0.06), 0.3, 1.0))
        yaw = rng.uniform(35, 85) * rng.choice([-1, 1]) if kind == "turned" else rng.normal(0, 7)
        pose = (float(yaw), float(rng.normal(0, 4)), float(rng.normal(0, 4)))
        course = expression_course(self.times, draw_expression(label, rng), intensity, identity.expressivity, pose, rng)
        speech, spoken, names = None, 0.0, ["rest"] * len(self.times)
        speaks = index is not None and (sound != "silent" or rng.random() < 0.5)
        weights = np.zeros((len(self.times), len(VISEMES)), np.float32)
        if speaks:
            voice = np.random.default_rng([self._plan.seed, 3, who])
            speaker = Speaker.draw(voice, identity.sex, identity.age_years)
            speech = speak(speaker, label, float(rng.uniform(0.6, 1.0)), rng, self._plan.seconds)
            track = mouth(speech, self.times)
            weights, names, spoken = track.weights, list(track.names), float(rng.uniform(0.3, 0.75))
        left, right = 1 + rng.normal(0, 0.08), 1 + rng.normal(0, 0.08)
        units = self.units(course, weights, spoken, left, right)
        return Actor(identity, shape, label, intensity, course, units, names, place), speech

    def units(self, course: Course, visemes: Floats, spoken: float, left: float, right: float) -> Floats:
        """Face units [T, units] of a course and of the mouth shapes [T, len(VISEMES)], which are scaled by `spoken`.

        `left` and `right`, about 1, are how strongly the two sides of the face move.
        """
        units = at_rest(self._head) + moved_by(self._head, course.actions, left, right)
        units += spoken * quiet_mouth(course.actions)[:, None] * (visemes @ self._visemes)
        held: Floats = np.clip(units, 0, 2.2)
        return held

    def film(
        self,
        actors: list[Actor],
        light_kind: str,
        focal: float,
        camera: Camera,
        kind: str,
        rng: np.random.Generator,
        setting: Setting = Setting("room", "wall"),
    ) -> tuple[npt.NDArray[np.uint8], list[dict[str, Any]]]:
        """The actors' frames uint8 RGB [T, size, size, 3] over `times`, and the ground truth of each frame and face."""
        size = self._plan.size
        light = exposed(
            draw_light(light_kind, rng, setting.source), actors[0].identity.look.brightness if actors else 0.2
        )
        brightness = 0.25 if light_kind == "dim" else float(rng.uniform(0.45, 1))
        background = draw_background(setting.background, size, brightness, camera.defocus * size, rng)
        pan = rng.uniform(0, 0.2 * size, (2, 2))
        occluder = draw_occluder(size, rng) if kind == "occluded" else None
        wobble = rng.normal(0, 0.05, 2).astype(np.float32)
        video, truth = [], []
        for t, time_s in enumerate(self.times):
            posed = [self._posed(actor, t) for actor in actors]
            x, y = (pan[0] + (pan[1] - pan[0]) * t / len(self.times)).astype(int)
            frame = background[y : y + size, x : x + size].astype(np.float32)
            if posed:
                drawn = self._renderer.draw(posed, light, focal).astype(np.float32)
                frame = np.asarray(drawn[..., :3] + (1 - drawn[..., 3:] / 255) * frame)
            picture = Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8))
            for number, (actor, one) in enumerate(zip(actors, posed, strict=True)):
                seen = self._points.project(one.vertices, focal, size)
                if occluder and number == 0:
                    put_occluder(
                        picture, occluder, (seen["box_x0"], seen["box_y0"], seen["box_x1"], seen["box_y1"]), wobble
                    )
                truth.append(
                    {"frame": t, "time_s": float(time_s), "face": number, "occluded": bool(occluder and number == 0)}
                    | _facts(actor, t) | seen | dict(zip(("light_x", "light_y", "light_z"), light.key_from, strict=True))
                )  # fmt: skip
            video.append(see(picture, camera, rng))
        return np.stack(video), truth

    def _posed(self, actor: Actor, t: int) -> Drawn:
        """The actor's head at frame `t` in camera space."""
        course = actor.course
        place = actor.place + np.array([*course.shift[t], 0.0], np.float32)
        gaze = (float(course.gaze[t][0]), float(course.gaze[t][1]))
        look = actor.identity.look
        return self._poser.posed(actor.shape, look, actor.units[t], course.actions[t], course.pose_deg[t], place, gaze)

    def _row(
        self, name: str, index: int, kind: str, actors: list[Actor], light: str, sound: str,
        frames: list[dict[str, Any]], speech: Speech | None,
    ) -> dict[str, Any]:  # fmt: skip
        first = actors[0] if actors else None
        heights = [frame["box_y1"] - frame["box_y0"] for frame in frames if frame["face"] == 0]
        yaw = float(np.median(np.abs(first.course.pose_deg[:, 0]))) if first else 0.0
        return {
            "clip": name,
            "seed": self._plan.seed,
            "index": index,
            "kind": kind,
            "expression": first.expression if first else None,
            "intensity": first.intensity if first else 0.0,
            "apex_time_s": first.course.apex_s if first else 0.0,
            "identity": first.identity.name if first else None,
            "sex": first.identity.sex if first else None,
            "age_years": first.identity.age_years if first else 0,
            "age_group": first.identity.age_group if first else None,
            "skin_tone": first.identity.skin_tone if first else 0,
            **(asdict(first.identity.look.traits) if first else NO_TRAITS),
            "lip_colour": hexed(first.identity.look.lip) if first else None,
            "light": light,
            "pose": "frontal" if yaw < 15 else "half" if yaw < 40 else "profile",
            "sound": sound,
            "face_px": float(np.median(heights)) if heights else 0.0,
            "text": speech.text if speech else "",
        }


@dataclass(frozen=True)
class _Points:
    """Vertices whose positions in the picture are part of the ground truth."""

    box: npt.NDArray[np.int64]
    eyes: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    nose: int
    corners: tuple[int, int]

    @staticmethod
    def of(head: Head) -> _Points:
        """The points of a head: the face from chin to forehead, eyeballs, tip of the nose, corners of the mouth."""
        rest = head.rest
        skin = np.zeros(len(rest), bool)
        skin[head.triangles["skin"]] = True
        box = np.flatnonzero(skin & (head.face > 0.5) & (rest[:, 1] < 7.9))
        near = skin & (np.abs(rest[:, 0]) < 0.06) & (rest[:, 1] > 6.8) & (rest[:, 1] < 7.15)
        nose = int(np.flatnonzero(near)[rest[near, 2].argmax()])
        lips = np.flatnonzero(skin & (head.lips > 0.5))
        corners = int(lips[rest[lips, 0].argmin()]), int(lips[rest[lips, 0].argmax()])
        return _Points(box, (head.right_eye, head.left_eye), nose, corners)

    def project(self, vertices: Floats, focal: float, size: int) -> dict[str, float]:
        """Box and landmarks in pixels."""

        def at(points: Floats) -> Floats:
            points = np.atleast_2d(points)
            scaled = points[:, :2] / -points[:, 2:] * focal * size / 2
            return np.stack([size / 2 + scaled[:, 0], size / 2 - scaled[:, 1]], 1)

        seen = at(vertices[self.box])
        low, high = seen.min(0), seen.max(0)
        marks = [at(vertices[eye]).mean(0) for eye in self.eyes]
        marks += [at(vertices[point])[0] for point in (self.nose, *self.corners)]
        out = {"box_x0": low[0], "box_y0": low[1], "box_x1": high[0], "box_y1": high[1]}
        for i, (x, y) in enumerate(marks):
            out |= {f"lm_{i}_x": x, f"lm_{i}_y": y}
        return {key: float(value) for key, value in out.items()}


def _facts(actor: Actor, t: int) -> dict[str, Any]:
    """Ground truth about an actor at frame `t`, except positions in the picture."""
    course = actor.course
    facts: dict[str, Any] = {
        "identity": actor.identity.name,
        "expression": actor.expression,
        "expression_intensity": float(course.envelope[t] * actor.intensity),
        "viseme": actor.visemes[t],
        "blink": float(course.blink[t]),
    }
    facts |= dict(zip(("yaw_deg", "pitch_deg", "roll_deg"), map(float, course.pose_deg[t]), strict=True))
    return facts | {unit: float(value) for unit, value in zip(AUS, course.actions[t], strict=True)}
