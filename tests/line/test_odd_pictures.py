"""Pixels that are not square: the line gives the scores of the same film with square ones, and right proportions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.astronaut import make_video
from helpers.odd_pictures import squeezed
from helpers.segments import clip_path
from PIL import Image

from streamfx.pipeline import load_config
from streamfx.runtime.worker import Worker

SCORES = ("p_happiness", "p_sadness", "p_neutral", "p_anger", "p_surprise", "p_disgust", "p_fear", "face_score")


def run(folder: Path, film: Path, aspect: Fraction) -> dict[Any, dict[str, Any]]:
    """The windows' rows by their start; masked pictures are under `folder`."""
    folder.mkdir()
    squeezed(film, folder / "film.mp4", aspect)
    Worker(load_config(runs.tree(folder, [folder / "film.mp4"], redact={"preview_dir": str(folder / "masked")}))).run()
    return {row["window_start"]: row for row in runs.rows(folder / "data", "windows")}


def furthest(rows: dict[Any, dict[str, Any]], others: dict[Any, dict[str, Any]]) -> float:
    assert rows.keys() == others.keys() and rows
    return max(abs(rows[start][name] - others[start][name]) for start in rows for name in SCORES)


def masked_sizes(folder: Path) -> set[tuple[int, int]]:
    sizes = set()
    for path in (folder / "masked").rglob("*.png"):
        with Image.open(path) as picture:
            sizes.add(picture.size)
    return sizes


@pytest.mark.slow
def test_squeezed_films_score_as_the_whole_one(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4", 4)
    whole = run(tmp_path / "whole", tmp_path / "film.mp4", Fraction(1))
    # Half of the lines of a face of 120 pixels are missing. If pixels were treated as square, it was 0.75 to 0.91.
    for aspect, most in ((Fraction(1, 2), 0.3), (Fraction(2), 0.2), (Fraction(16, 11), 0.2)):
        folder = tmp_path / f"{aspect.numerator}-{aspect.denominator}"
        assert furthest(whole, run(folder, tmp_path / "film.mp4", aspect)) < most
        (size,) = masked_sizes(folder)
        assert abs(size[0] / size[1] - 1) < 0.01, "the masked picture of a square film is square"


@pytest.mark.slow
def test_a_squeezed_real_clip_scores_as_the_whole_one(tmp_path: Path) -> None:
    film = clip_path("bbaf2n.mpg")
    whole = run(tmp_path / "whole", film, Fraction(1))
    assert furthest(whole, run(tmp_path / "squeezed", film, Fraction(1, 2))) < 0.1
