"""Tiny sets in the layouts of CelebA, RAF-DB, AffectNet, UTKFace and DISFA, whose pictures are noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from streamfx.models.celeba import CELEBA
from streamfx.train.au_sets import AU_SETS

rng = np.random.default_rng(0)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (12, 10, 3), np.uint8)).save(path, quality=95)


def write_celeba(root: Path, count: int = 60) -> Path:
    names = [f"{number + 1:06d}.jpg" for number in range(count)]
    for name in names:
        picture(root / "Img" / "img_align_celeba" / name)
    values = [" ".join(rng.choice(["1", "-1"], 40)) for _ in names]
    lists = {
        "Anno/list_attr_celeba.txt": [str(count), " ".join(CELEBA), *map(" ".join, zip(names, values, strict=True))],
        "Anno/identity_CelebA.txt": [f"{name} {1000 + number // 4}" for number, name in enumerate(names)],
        "Eval/list_eval_partition.txt": [f"{name} {number // (count // 3)}" for number, name in enumerate(names)],
    }
    for file, lines in lists.items():
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text("\n".join(lines) + "\n")
    return root


def write_raf_db(root: Path, count: int = 30) -> Path:
    lines = [f"{'test' if number % 3 == 0 else 'train'}_{number:05d}.jpg {number % 7 + 1}" for number in range(count)]
    for line in lines:
        picture(root / "Image" / "aligned" / f"{line.split('.')[0]}_aligned.jpg")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


def write_affectnet(root: Path) -> Path:
    for part in ("train", "val"):
        for label in range(8):
            for number in range(6):
                picture(root / part / str(label) / f"{number}.jpg")
    return root


UTKFACE = ("25_0_3_20170116174525125.jpg.chip.jpg", "8_1_0_20170116174525126.jpg", "61_1_20170109142408075.jpg.chip.jpg",
           "70_1_4_20170109142408076.jpg", "40_0_2_20170109142408077.jpg")  # fmt: skip


def write_utkface(root: Path) -> Path:
    for name in UTKFACE:
        picture(root / "part1" / name)
    (root / "part1" / "readme_1.jpg").write_bytes(b"")
    return root


def write_disfa(root: Path) -> Path:
    rows = []
    for who in AU_SETS["disfa"].people[:20]:
        for frame in (10, 11, 20):
            path = f"{who}/{frame}.jpg"
            picture(root / path)
            rows.append({"img_path": path, "AUs": [[], [1, 12], [12, 25]][int(rng.integers(3))]})
    (root / "labels.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "labels.json"


WRITERS = {"celeba": write_celeba, "raf-db": write_raf_db, "affectnet": write_affectnet, "utkface": write_utkface,
           "disfa": write_disfa}  # fmt: skip
