"""Running operators: what the table would hold, and what a run refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from streamfx_operators.windows import Windows, WindowsConfig

from streamfx.columns import MAX_COLUMNS, Column
from streamfx.errors import PrivacyRefusal
from streamfx.operator import OperatorConfig, ScoreOperator
from streamfx.records import Window
from streamfx.testing import ScriptedFaces, Stream, make_context, make_window, noise, run_faces, run_scores, run_windows


class Says(ScoreOperator):
    """Declares columns, and says something for each window."""

    name = "says"
    Config = OperatorConfig

    def __init__(self, columns: tuple[Column, ...], **values: Any):
        super().__init__(OperatorConfig(), make_context())
        self._columns, self._values = columns, values

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    def score(self, window: Window) -> Mapping[str, Any]:
        return self._values


SCORE = Column("score", "float", "A score")
MOOD = Column("mood", "category", "A word", ("glad", "sad"))


def test_values_come_back_as_they_would_stand_in_the_table() -> None:
    rows = run_scores(Says((SCORE, MOOD), score=np.float32(0.5)), [make_window(1), make_window(2)])
    assert rows == [{"score": 0.5, "mood": None}] * 2
    assert type(rows[0]["score"]) is float


@pytest.mark.parametrize(
    ("columns", "values", "said"),
    [
        ((SCORE,), {"other": 1.0}, "not declared"),
        ((SCORE,), {"score": float("nan")}, "finite"),
        ((SCORE,), {"score": "high"}, "expected float"),
        ((MOOD,), {"mood": "alice"}, "another word"),
        ((Column("face_embedding", "float", "no"),), {}, "may not leave"),
        (tuple(Column(f"c{n}", "float", "") for n in range(MAX_COLUMNS + 1)), {}, "at most"),
    ],
)
def test_what_a_run_refuses_is_refused(columns: tuple[Column, ...], values: dict[str, Any], said: str) -> None:
    with pytest.raises(PrivacyRefusal, match=said):
        run_scores(Says(columns, **values), [make_window()])


def test_a_window_operator_is_run_with_scripted_faces_to_the_streams_end() -> None:
    segments = Stream(100, lambda n: np.full((64, 64, 3), n, np.uint8), sound=noise(100)).cut([50])
    faces, there = ScriptedFaces(lambda number: True), ScriptedFaces(lambda number: number % 2 == 0)
    windows = run_windows(faces, Windows(WindowsConfig(crop_px=16), make_context()), segments)
    assert [w.closed_by for w in windows] == [0, 1, 1, 2]
    assert {len(tracked.faces) for tracked in run_faces(there, segments)} == {0, 1}
