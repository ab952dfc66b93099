"""A small synthetic set: the clips' colour and pitch show the expression, with the ground truth of real sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import fastparquet
import numpy as np
import pandas as pd
import yaml

from streamfx.nets.mae import Mae, MaeConfig
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train.encoder_file import EncoderInfo, save_encoder
from streamfx.train.examples import AUS

SIZE = 96
FACE = (24, 20, 64, 68)
"""Box of the face in frame 0, pixels: x0, y0, x1, y1; it moves one pixel to the right with each frame."""


def write_set(folder: Path, clips: int, seed: int = 1, fps: int = 8, seconds: float = 2.0, people: int = 4) -> Path:
    """Write `clips` labelled clips and an empty one; clip 1 hides its face in frame 3."""
    (folder / "clips").mkdir(parents=True)
    rows, frames = [], []
    for index in range(clips + 1):
        empty = index == clips
        label = None if empty else LABELS_7[index % 7]
        name = f"s{seed}-{index:06d}"
        count = round(fps * seconds)
        _write_clip(folder / "clips" / f"{name}.mp4", index % 7, seed, count, fps, empty)
        rows.append(
            {
                "clip": name, "seed": seed, "index": index, "kind": "empty" if empty else "frontal", "expression": label,
                "intensity": 0.8, "apex_time_s": seconds / 2, "identity": None if empty else f"s{seed}-i{index % people}",
                "sex": "female", "age_years": 30.0, "age_group": "young", "skin_tone": 3, "light": "normal",
                "pose": "frontal", "crf": 23, "sound": "clear", "face_px": 48.0, "text": "a word",
            }
        )  # fmt: skip
        if not empty:
            frames += [_truth(name, label or "", number, fps) for number in range(count) if (index, number) != (1, 3)]
    fastparquet.write(str(folder / "clips.parquet"), pd.DataFrame(rows))
    fastparquet.write(str(folder / "frames.parquet"), pd.DataFrame(frames))
    about = {"version": 2, "seed": seed, "identities": people, "clips": clips + 1, "fps": fps, "size": SIZE}
    (folder / "set.json").write_text(json.dumps(about | {"seconds": seconds}))
    return folder


COLOURS = (
    (230, 30, 30), (30, 230, 30), (30, 30, 230), (230, 230, 30), (230, 30, 230), (30, 230, 230), (250, 250, 250),
)  # fmt: skip
"""The face's colour for each expression, in the order of LABELS_7."""


def _truth(clip: str, label: str, number: int, fps: int) -> dict[str, Any]:
    x0, y0, x1, y1 = FACE
    row: dict[str, Any] = {
        "clip": clip, "frame": number, "time_s": number / fps, "face": 0, "identity": "x", "expression": label,
        "expression_intensity": 0.75, "viseme": "rest", "blink": 0.0, "yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0,
        "occluded": False, "box_x0": x0 + number, "box_y0": y0, "box_x1": x1 + number, "box_y1": y1,
        "light_x": 0.0, "light_y": 0.0, "light_z": 1.0,
    }  # fmt: skip
    places = ((34, 38), (54, 38), (44, 48), (38, 58), (50, 58))
    for i, (x, y) in enumerate(places):
        row |= {f"lm_{i}_x": float(x + number), f"lm_{i}_y": float(y)}
    return row | {f"au_{unit:02d}": float(LABELS_7.index(label)) / 2 + number / 100 for unit in AUS}


def _write_clip(path: Path, expression: int, seed: int, count: int, fps: int, empty: bool) -> None:
    rate = 16_000
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(rate * count / fps)) / rate
    sound = (0.3 * np.sin(2 * np.pi * (200 + 150 * expression) * time_s)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio: Any = container.add_stream("aac", rate=rate, layout="mono")
        for number in range(count):
            picture = np.full((SIZE, SIZE, 3), 90, np.uint8)
            picture += rng.integers(0, 12, picture.shape, dtype=np.uint8)
            if not empty:
                x0, y0, x1, y1 = FACE
                picture[y0:y1, x0 + number : x1 + number] = COLOURS[expression]
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


ENCODER = {"dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2}
DECODER = {"dim": 16, "depth": 1, "heads": 2}
ORIGIN = {"licence": "CC0-1.0", "source": "made for a test"}
NET = {
    "latent": 8, "prompts_per_step": 1, "temporal_dim": 16, "temporal_heads": 2, "temporal_head_dim": 8, "temporal_mlp": 32,
}  # fmt: skip


def face_recipe(data: Mapping[str, Any], out: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for a face encoder that trains in a second."""
    mae = {"epochs": 2, "batch_size": 16, "blr": 1e-2, "warmup_epochs": 1, "mask_ratio": 0.75}
    recipe = {"data": dict(data), "frames_per_clip": 4, "encoder": ENCODER, "decoder": DECODER, "mae": mae}
    return recipe | {"origin": ORIGIN, "run": {"out": str(out), "device": "cpu", "threads": 1}} | changes


def audio_recipe(data: Mapping[str, Any], out: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for an audio encoder that trains in a second."""
    mae = {"epochs": 2, "batch_size": 4, "blr": 1e-2, "mask_ratio": 0.8}
    recipe = {"data": dict(data), "encoder": ENCODER, "decoder": DECODER, "mae": mae}
    return recipe | {"origin": ORIGIN, "run": {"out": str(out), "device": "cpu", "threads": 1}} | changes


def synthetic_data(train: Path, held_out: Path | None, cache: Path) -> dict[str, Any]:
    """The `data` section for synthetic sets, with faces of 32 pixels."""
    sets = {"train": [str(train)], "held_out": [str(held_out)] if held_out else [], "cache": str(cache), "processes": 1}
    return {"image_size": 32, "synthetic": sets}


def write_yaml(path: Path, tree: Mapping[str, Any]) -> Path:
    """Write a recipe as a file."""
    path.write_text(yaml.safe_dump(dict(tree)))
    return path


def write_encoders(root: Path) -> None:
    """Write the encoder files `face` (for 32 x 32 pixels) and `audio`, untrained."""
    for kind, channels, height, width in (("face", 3, 32, 32), ("audio", 1, 512, 128)):
        mae = Mae(MaeConfig(channels, height, width, 16, **ENCODER, decoder_dim=8, decoder_depth=1, decoder_heads=1))
        mae.initialise(3)
        info = EncoderInfo(kind=kind, patch=16, grid=mae.config.grid, **ENCODER, **ORIGIN)  # type: ignore[arg-type]
        save_encoder(root / kind, mae.encoder.state_dict(), info)
