"""Operators at work outside a line: what goes in and comes out, checked as the line checks it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streamfx.operator import FaceOperator, ScoreOperator, WindowOperator, columns_of, models_of
from streamfx.privacy.rows import Rows
from streamfx.records import Segment, TrackedFrame, Window
from streamfx.testing.builders import TEST_PARTITION, make_privacy, make_pseudonyms

ANSWER_S = 60


def run_faces(faces: FaceOperator, segments: Iterable[Segment], stream_id: str = "camera") -> list[TrackedFrame]:
    """All tracked frames of a stream's segments, which have the offsets 0, 1, ... The stream does not end."""
    return [frame for offset, segment in enumerate(segments) for frame in faces.track(stream_id, offset, segment)]


def run_windows(
    faces: FaceOperator, windows: WindowOperator, segments: Iterable[Segment], stream_id: str = "camera"
) -> list[Window]:
    """All windows of a stream's segments, which have the offsets 0, 1, ... and after which the stream ends."""
    closed: list[Window] = []
    offset = 0
    for offset, segment in enumerate(segments, 1):
        closed += windows.add(stream_id, offset - 1, segment, faces.track(stream_id, offset - 1, segment))
    faces.end_stream(stream_id)
    return closed + windows.end_stream(stream_id, offset)


def run_scores(operator: ScoreOperator, windows: Sequence[Window]) -> list[dict[str, Any]]:
    """For each window, column -> value as it would stand in the table; a column that was left out is None.

    All windows are under way at once, as in the line. What the line refuses is refused alike: PrivacyRefusal for too
    many columns, for one whose name or kind may not leave, for a value that was not declared, has another kind, is
    outside the vocabulary or is not finite. An error of the operator or its model is raised. TimeoutError for an answer
    that does not come within a minute, as where an operator keeps `flush` from a model that waits for it.
    """
    columns = columns_of(operator)
    privacy = make_privacy()
    models = models_of({operator.name: operator})
    versions = {name: model["model_version"] for name, model in models.items()}
    rows = Rows(privacy, make_pseudonyms(privacy), "test", columns, versions)
    asked = [operator.submit(window) for window in windows]
    operator.flush()
    found = []
    for window, answer in zip(windows, asked, strict=True):
        row = rows.publish_window(window, answer.result(ANSWER_S), TEST_PARTITION)
        found.append({column.name: row.values[column.name] for column in columns})
    return found
