"""Drawing: the picture follows from the head, the light and the lens, and errors name what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from helpers.synth import head, needs_renderer

from streamfx.errors import MissingComponent
from streamfx.synth.looks import draw_identity
from streamfx.synth.render import Drawn, Light, Renderer
from streamfx.synth.wrinkles import PATTERNS

SIZE = 64
FOCAL = 6.0
NO_WRINKLES = (0.0,) * len(PATTERNS)


def light(x: float = 0.0) -> Light:
    """A lamp in front, moved to the viewer's right by `x`."""
    toward = np.array([x, 0.2, 1.0]) / np.linalg.norm([x, 0.2, 1.0])
    return Light(tuple(toward), (0.9, 0.9, 0.9), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (0.05, 0.05, 0.05))


@cache
def renderer() -> Renderer:
    return Renderer(head(), SIZE)


def standing(x: float = 0.0, y: float = 0.0, distance: float = 20.0, seed: int = 7) -> Drawn:
    """A person with the middle between the eyes at (x, y), decimetres."""
    person = draw_identity(head(), "p", np.random.default_rng(seed))
    shape = head().shaped(person.weights)
    eyes = (shape[head().left_eye].mean(0) + shape[head().right_eye].mean(0)) / 2
    placed = (shape - eyes + [x, y, -distance]).astype(np.float32)
    return Drawn(placed, head().normals(placed), person.look, NO_WRINKLES, (0, 0), 0)


def drawn_only(pattern: str) -> tuple[float, ...]:
    """One pattern of wrinkles in full."""
    return tuple(float(name == pattern) for name in PATTERNS)


def picture(*people: Drawn, lit: Light | None = None, focal: float = FOCAL) -> npt.NDArray[np.int64]:
    return renderer().draw(list(people), lit or light(), focal).astype(int)


@needs_renderer
def test_a_head_covers_the_middle_and_leaves_the_corners_to_the_background() -> None:
    drawn = picture(standing())
    assert drawn.shape == (SIZE, SIZE, 4)
    alpha = drawn[..., 3]
    assert alpha[SIZE // 2, SIZE // 2] == 255 and alpha[0, 0] == alpha[0, -1] == 0
    assert (drawn[..., :3] <= alpha[..., None] + 1).all(), "colours are premultiplied"
    assert ((alpha > 0) & (alpha < 255)).any(), "edges are smooth"


@needs_renderer
def test_a_picture_without_heads_is_empty() -> None:
    assert not picture().any()


@needs_renderer
def test_equal_heads_give_equal_pixels_also_after_others() -> None:
    first = picture(standing())
    picture(standing(seed=8), lit=light(2.0))
    assert np.array_equal(first, picture(standing()))


@needs_renderer
def test_up_is_up_right_is_right_and_far_is_small() -> None:
    def rows_columns(one: Drawn) -> tuple[float, float]:
        rows, columns = np.nonzero(picture(one)[: SIZE // 2, :, 3])
        return float(rows.min()), float(columns.mean())

    top, across = rows_columns(standing())
    assert rows_columns(standing(y=0.8))[0] < top - 3
    assert rows_columns(standing(x=0.8))[1] > across + 3
    assert (picture(standing(distance=40.0))[..., 3] > 0).sum() < 0.5 * (picture(standing())[..., 3] > 0).sum()
    assert (picture(standing(), focal=3.0)[..., 3] > 0).sum() < 0.5 * (picture(standing())[..., 3] > 0).sum()


@needs_renderer
def test_nearer_heads_hide_those_behind() -> None:
    near, far = standing(distance=20.0, seed=7), standing(distance=26.0, seed=8)
    both, alone = picture(far, near), picture(near)
    face = slice(SIZE // 2, SIZE // 2 + 8)
    assert np.array_equal(both[face, face], alone[face, face])


@needs_renderer
def test_the_side_toward_the_light_is_brighter() -> None:
    face = np.s_[SIZE // 2 : SIZE // 2 + 12, :, :3]
    half = SIZE // 2
    for x in (-2.0, 2.0):
        seen = picture(standing(), lit=light(x))[face].sum(2)
        lit_side, dark_side = (seen[:, half:], seen[:, :half]) if x > 0 else (seen[:, :half], seen[:, half:])
        assert lit_side.mean() > 1.2 * dark_side.mean()


@needs_renderer
def test_an_open_mouth_and_furrows_can_be_seen() -> None:
    still = standing()
    jaw = np.eye(len(head().unit_names), dtype=np.float32)[head().unit_names.index("jawOpen")] * 0.7
    opened = still.vertices + np.tensordot(jaw, head().unit_offsets, 1)
    talking = Drawn(opened, head().normals(opened), still.look, NO_WRINKLES, (0, 0), 0.7)
    mouth = np.s_[SIZE // 2 + 8 :, SIZE // 2 - 8 : SIZE // 2 + 8, :3]
    assert np.abs(picture(talking)[mouth] - picture(still)[mouth]).max() > 40
    frowning = Drawn(still.vertices, still.normals, still.look, drawn_only("frown"), (0, 0), 0)
    assert np.abs(picture(frowning) - picture(still))[..., :3].max() > 8


def test_without_moderngl_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(MissingComponent, match=r"pip install 'streamfx\[synth\]'"):
        Renderer(None, SIZE)  # type: ignore[arg-type]


@needs_renderer
def test_without_a_driver_the_error_names_the_packages(tmp_path: Path) -> None:
    code = "from streamfx.synth.render import Renderer; Renderer(None, 64)"
    nowhere = {"__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **nowhere}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "SynthError" in done.stderr and "apt install libegl1 libgl1-mesa-dri" in done.stderr
