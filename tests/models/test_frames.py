"""The frames of a window in a model's size are made once, and stay with that window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamfx.models import frames
from streamfx.models.frames import sized_frames, to_model_size
from streamfx.records import Window


@pytest.fixture
def window() -> Window:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    bank, present = np.zeros((512, 128), np.float32), np.ones(16, bool)
    return Window("s", 0, 0, 0, 2_000_000, pixels, bank, present, True, 0.9, 80.0, 0, (0, 0))


def test_frames_are_made_once_for_a_side(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(frames, "to_model_size", lambda pixels, side: made.append(side) or to_model_size(pixels, side))
    asked = [sized_frames(window, side) for side in (32, 64, 32, 64, 32)]
    assert made == [32, 64]
    assert asked[0] is asked[2] is asked[4] and asked[1] is asked[3]
    for found, side in zip(asked, (32, 64), strict=False):
        np.testing.assert_array_equal(found, to_model_size(window.frames, side))
        assert found.flags.c_contiguous


def test_one_model_cannot_change_what_the_next_one_sees(window: Window) -> None:
    with pytest.raises(ValueError, match="read-only"):
        sized_frames(window, 32)[:] = 0


def test_a_copy_of_a_window_with_other_frames_begins_without_them(window: Window) -> None:
    sized_frames(window, 32)
    assert window.sized and not replace(window, frames=np.empty((0,), np.uint8)).sized
    white = replace(window, frames=np.full_like(window.frames, 255))
    assert (sized_frames(white, 32) == 255).all()
