"""A small synthetic set of people with traits: what they wear is painted in plain colours, so that a net can learn it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.synth.clip import NO_TRAITS
from streamfx.synth.output import CLIP_COLUMNS, FRAME_COLUMNS, SetInfo, SetWriter

SIZE, FPS, SECONDS = 96, 2, 1.0
BOX = (28.0, 24.0, 68.0, 72.0)


def write_people(folder: Path, people: int, clips: int, seed: int = 1, empty: int = 1) -> Path:
    """A finished set: `clips` clips of `people` people, and `empty` clips that show nobody. Every second person wears a
    hat (green) and every third one glasses (red)."""
    info = SetInfo(seed=seed, identities=people, clips=clips + empty, fps=FPS, size=SIZE, seconds=SECONDS)
    writer, silence = SetWriter(folder, info), np.zeros(16_000, np.float32)
    rng = np.random.default_rng(seed)
    for index in range(clips + empty):
        who = None if index >= clips else index % people
        row, frames = _truth(f"s{seed}-{index:06d}", seed, index, who)
        video = [_picture(who, rng) for _ in range(round(FPS * SECONDS))]
        writer.add(row, frames, video, FPS, 18, silence, 16_000)
    writer.finish()
    return folder


def _truth(clip: str, seed: int, index: int, who: int | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    defaults: dict[str, Any] = {"string": "none", "int": 0, "float": 0.0, "seconds": 0.0, "bool": False}
    row = {column.name: None if column.nullable else defaults[column.kind] for column in CLIP_COLUMNS} | NO_TRAITS
    row |= {"clip": clip, "seed": seed, "index": index, "kind": "empty" if who is None else "frontal"}
    if who is None:
        return row, []
    name = f"s{seed}-i{who}"
    row |= {column.name: "none" for column in CLIP_COLUMNS if column.nullable}
    row |= {
        "expression": "neutral", "identity": name, "sex": ("female", "male")[who % 2], "age_years": 20 + 5 * (who % 12),
        "age_group": "young", "skin_tone": 1 + who % 9, "hair_style": "short", "hair_colour": ("black", "brown")[who % 2],
        "hairline": "straight", "hat": "cap" if who % 2 else "none", "glasses": "none" if who % 3 else "round",
    }  # fmt: skip
    frames = []
    for number in range(round(FPS * SECONDS)):
        frame = {column.name: defaults[column.kind] for column in FRAME_COLUMNS}
        frame |= {"clip": clip, "frame": number, "identity": name, "expression": "neutral", "viseme": "rest"}
        frame |= dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), BOX, strict=True))
        frame |= {"lm_0_x": 40.0, "lm_0_y": 42.0, "lm_1_x": 56.0, "lm_1_y": 42.0, "au_12": 4.0 * (number % 2)}
        frames.append(frame)
    return row, frames


def _picture(who: int | None, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    picture = rng.integers(70, 110, (SIZE, SIZE, 3)).astype(np.uint8)
    if who is not None:
        picture[24:72, 28:68] = (210, 170, 140)
        if who % 2:
            picture[24:34, 28:68] = (30, 200, 40)
        if not who % 3:
            picture[40:46, 32:64] = (220, 20, 30)
    return picture
