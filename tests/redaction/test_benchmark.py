"""What `benchmarks/redaction.py` and its scenes measure with; neither tool is run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`benchmarks/redaction.py`, which finds its other files beside itself."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("redaction")


@pytest.fixture
def scenes(module: ModuleType) -> ModuleType:
    """The module of scenes."""
    return sys.modules["redaction_scenes"]


def sprite(scenes: ModuleType, **changes: float) -> object:
    """A white square of 40 pixels, with its middle at (100, 100), that moves 8 pixels a frame to the right."""
    facts = {"scale": 1.0, "x": 100, "y": 100, "step_x": 8.0, "step_y": 0.0, "first": 0, "end": 9} | changes
    row = {"face": 0, "box_x0": 10, "box_y0": 10, "box_x1": 30, "box_y1": 30, "yaw_deg": -5, "occluded": False}
    truth = pd.DataFrame([row | {"skin": "4-6", "light": "dim"}])
    return scenes.Sprite([np.full((40, 40, 3), 255, np.uint8)], {0: truth}, **facts)


def pasted(scenes: ModuleType, one: object) -> np.ndarray:
    picture = np.zeros((scenes.HEIGHT, scenes.WIDTH, 3), np.uint8)
    scenes._paste(picture, one, 0)
    return picture[..., 0]


def test_what_moves_while_the_shutter_is_open_is_blurred_along_its_way_around_its_true_place(
    scenes: ModuleType,
) -> None:
    sharp, blurred = pasted(scenes, sprite(scenes)), pasted(scenes, sprite(scenes, shutter=1.0))
    assert sharp[100, 80:120].min() == 255 and sharp[100, :80].max() == sharp[100, 120:].max() == 0
    row = blurred[100].astype(int)
    assert row[84:116].min() == 255 and row[:76].max() == row[124:].max() == 0
    assert 100 < row[80] < 160 and row.sum() == pytest.approx(sharp[100].astype(int).sum(), rel=0.02)
    assert (blurred[80:120] == blurred[100]).all() and blurred[:80].max() == 0


def test_a_blurred_sprite_comes_in_over_the_border(scenes: ModuleType) -> None:
    picture = pasted(scenes, sprite(scenes, x=-20, shutter=1.0))
    assert 0 < picture[100, 0] < 255 and picture[100, 4:].max() == 0


def test_each_face_has_the_facts_it_is_grouped_by(scenes: ModuleType) -> None:
    ((_, box, facts),) = scenes._truth(sprite(scenes, shutter=0.5), 0, 0)
    assert box == (90, 90, 110, 110)
    assert facts == {"height": 20, "yaw": 5, "occluded": False, "skin": "4-6", "light": "dim", "blur": 0.2}


def test_skin_is_that_of_each_person_and_light_that_of_the_clip(scenes: ModuleType) -> None:
    clips = pd.DataFrame(
        {
            "clip": ["a", "b", "c"],
            "identity": ["one", "two", None],
            "skin_tone": [2, 9, 0],
            "light": ["dim", "side", "dim"],
        }
    )
    frames = pd.DataFrame({"clip": ["a", "a", "b", "b"], "identity": ["one", "two", "two", "three"]})
    told = scenes.with_looks(clips, frames)
    assert told["skin"].tolist() == ["1-3", "7-10", "7-10", "unknown"]
    assert told["light"].tolist() == ["dim", "dim", "side", "side"]


def test_leaks_are_counted_by_track_and_by_frame_with_intervals(module: ModuleType) -> None:
    facts = {"height": 16.0, "yaw": 3.0, "occluded": False, "skin": "1-3", "light": "dim", "blur": 0.0}
    leaks = [(track, track == 0 and frame == 1) for track in range(4) for frame in range(5)]
    rows = [{"track": track, "leak": leak, "covered": 0.9 if leak else 1.0, **facts} for track, leak in leaks]
    found = module.shares(pd.DataFrame(rows))
    assert (found["tracks"]["leaks"], found["tracks"]["of"], found["tracks"]["rate"]) == (1, 4, 0.25)
    low, high = found["tracks"]["interval"]
    assert 0 < low < 0.25 < high < 1
    assert (found["frames"]["leaks"], found["frames"]["of"]) == (1, 20)
    assert found["tracks_bare"]["leaks"] == 0
    assert found["tracks_by"]["skin"]["1-3"]["leaks"] == 1 and found["frames_by"]["light"]["dim"]["of"] == 20
    assert found["tracks_by"]["size_and_cover"]["to 20 px, open"]["of"] == 4


def test_memory_is_the_most_that_the_process_had(module: ModuleType) -> None:
    code = "import time; x = bytearray(b'x') * (300 << 20); del x; time.sleep(0.2); print('done')"
    text, peak_mib = sys.modules["redaction_tools"].measured([sys.executable, "-c", code])
    assert text == "done\n" and 300 < peak_mib < 400


def test_a_command_that_fails_tells_what_it_said(module: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="no such film"):
        sys.modules["redaction_tools"].measured([sys.executable, "-c", "raise SystemExit('no such film')"])


def test_a_real_face_is_judged_by_the_pixels_that_were_light(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tools = sys.modules["redaction_real"], sys.modules["redaction_tools"]
    before = np.full((40, 40, 3), 200, np.uint8)
    before[:, :20] = 10
    mask = np.zeros((40, 40), bool)
    mask[:20] = True
    monkeypatch.setattr(real, "decoded", lambda _: iter([before]))

    class Blind:
        def faces(self, _: np.ndarray) -> list[tuple[float, ...]]:
            return [(0, 0, 40, 20)]

    run = tools.Run(1.0, 1.0, iter([mask]), iter([before]))
    ((rows, free),) = real.compared(Path(), [[(0.0, 0.0, 40.0, 20.0), (0.0, 10.0, 40.0, 30.0)]], run, Blind())
    assert [(row["leak"], row["covered"], row["counted"], row["seen_again"]) for row in rows] == [
        (False, 1.0, 0.5, True),
        (True, 0.5, 0.5, True),
    ]
    assert free == 0.0
