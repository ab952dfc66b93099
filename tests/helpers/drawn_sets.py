"""Small drawn sets for tests of what is made from them: real tables and clips, whose pictures are plain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.actions import AUS
from streamfx.synth.output import (
    CLIP_COLUMNS,
    CLIPS_FILE,
    FRAME_COLUMNS,
    FRAMES_FILE,
    SET_FILE,
    SetInfo,
    columns_of,
    write_truth,
    write_video,
)
from streamfx.synth.traits import draw_traits

SIDE, FPS, SECONDS = 48, 4.0, 3.0
_GROUPS = (("child", 14), ("young", 34), ("middle", 59), ("old", 120))


def write_drawn_set(root: Path, seed: int, people: int = 30, clips_each: int = 2, own_pictures: bool = False) -> Path:
    """A finished set of SECONDS-long clips, in which every kind of truth occurs; returns `root`. Every fifth shows two people.

    All clips are one film, whose frames differ, unless each has `own_pictures`.
    """
    rng = np.random.default_rng(seed)
    count = people * clips_each
    info = SetInfo(seed=seed, identities=people, clips=count, fps=FPS, size=SIDE, seconds=SECONDS, only=())
    (root / "clips").mkdir(parents=True)
    (root / SET_FILE).write_text(info.model_dump_json())
    rows, frames = [], []
    film = _film(root / "film.mp4", rng)
    for number in range(count):
        who, sex = number // clips_each, "male" if number // clips_each % 2 else "female"
        personal = np.random.default_rng([seed, who])
        age = int(personal.integers(8, 86))
        clip, expression = f"s{seed}-{number:06d}", LABELS_7[int(rng.integers(7))]
        row = {column.name: _plain(column.kind) for column in CLIP_COLUMNS} | asdict(draw_traits(sex, age, 4, personal))
        rows.append(row | {
            "clip": clip, "seed": seed, "kind": "frontal", "expression": expression, "identity": f"s{seed}-i{who}",
            "sex": sex, "age_years": age, "skin_tone": 4, "light": str(rng.choice(["bright", "normal", "dim", "side"])),
            "age_group": next(name for name, last in _GROUPS if age <= last),
        })  # fmt: skip
        yaw = float(rng.choice([0, 5, -25, 30, -70, 80]))
        frames += [_frame(clip, at, f"s{seed}-i{who}", expression, yaw, rng) for at in range(round(SECONDS * FPS))]
        if number % 5 == 4:
            other = f"s{seed}-i{int(rng.integers(people))}"
            frames += [_frame(clip, at, other, "fear", 0.0, rng) | {"face": 1} for at in range(round(SECONDS * FPS))]
        (root / "clips" / f"{clip}.mp4").write_bytes(_film(root / "film.mp4", rng) if own_pictures else film)
    (root / "film.mp4").unlink()
    for name, table, columns in ((CLIPS_FILE, rows, CLIP_COLUMNS), (FRAMES_FILE, frames, FRAME_COLUMNS)):
        write_truth(root / name, [columns_of(table, columns)], columns)
    return root


def _film(path: Path, rng: np.random.Generator) -> bytes:
    """A film of patches of colour, with a little silence."""
    patches = rng.integers(0, 255, (round(SECONDS * FPS), 4, 4, 3), np.uint8)
    shown = (np.kron(one, np.ones((SIDE // 4, SIDE // 4, 1), np.uint8)) for one in patches)
    write_video(path, shown, FPS, 25, np.zeros(1600, np.float32), 16000)
    return path.read_bytes()


def _frame(clip: str, number: int, who: str, expression: str, yaw: float, rng: np.random.Generator) -> dict[str, Any]:
    row = {column.name: _plain(column.kind) for column in FRAME_COLUMNS}
    units = {unit: float(rng.choice([0, 0, 0, 0.7, 1.5, 3, 4.5])) for unit in AUS}
    return {
        **row,
        "clip": clip,
        "frame": number,
        "time_s": number / FPS,
        "identity": who,
        "expression": expression,
        "expression_intensity": float(rng.choice([0.0, 0.3, 0.9])),
        "viseme": str(rng.choice(["rest", "AA"])),
        "blink": float(rng.choice([0.0, 0.9])),
        "yaw_deg": yaw,
        "pitch_deg": float(rng.choice([-12, 0, 12])),
        "occluded": bool(rng.random() < 0.15),
        **{"box_x0": 10.0, "box_y0": 8.0, "box_x1": 38.0, "box_y1": 40.0},
        **units,
    }


def _plain(kind: str) -> Any:
    return {"string": "", "int": 0, "float": 0.0, "seconds": 0.0, "bool": False}[kind]
