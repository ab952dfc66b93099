"""Where windows are parted: nothing of one window is on both sides, and only what can be compared is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from helpers.planted import DAY_US, SECOND_US, plant_dataset

from streamfx.audit import questions
from streamfx.audit.published import Published
from streamfx.audit.questions import across_salts_question, stream_question, track_question
from streamfx.sink.place import open_place
from streamfx.testing import START_US, make_pseudonyms


def published(place: Path) -> Published:
    return Published(open_place(place), str(place))


def tracks_of(*spans: tuple[str, int, int]) -> pd.DataFrame:
    """A track for each stream, from its first to its last second."""
    rows = [(stream, "t", first * SECOND_US, last * SECOND_US, last - first + 1) for stream, first, last in spans]
    return pd.DataFrame(rows, columns=["stream_id", "track_id", "first_us", "last_us", "windows"])


@pytest.mark.parametrize("name", ["stream", "track", "across_salts"])
def test_no_moment_of_a_class_is_on_both_sides_of_its_cut(name: str, tmp_path: Path) -> None:
    rows = published(plant_dataset(tmp_path / "rows", days=2))
    tracks = rows.tracks()
    question = {
        "stream": lambda: stream_question(tracks, DAY_US),
        "track": lambda: track_question(tracks),
        "across_salts": lambda: across_salts_question(tracks, DAY_US, make_pseudonyms(), ["camera-0", "camera-1"]),
    }[name]()
    (sample,), _ = rows.samples([question])
    assert sample["label"].nunique() == {"stream": 8, "track": 24, "across_salts": 2}[name]
    for _, of_class in sample.groupby("label"):
        learnt = of_class[of_class["end_us"] <= of_class["cut_us"]]
        held_out = of_class[of_class["start_us"] >= of_class["cut_us"]]
        assert len(learnt) and len(held_out)
        assert learnt["end_us"].max() <= held_out["start_us"].min()
        if name != "across_salts":
            # A window over the cut is on neither side, so some are missing.
            assert len(learnt) + len(held_out) < len(of_class)


def test_only_streams_that_run_at_once_are_compared_where_the_salt_period_is_not_known() -> None:
    tracks = tracks_of(("a", 0, 50), ("b", 40, 90), ("c", 80, 120), ("d", 121, 200), ("e", 150, 300), ("f", 400, 500))
    classes = stream_question(tracks, None).classes.set_index("stream_id")["group"]
    assert len({classes[name] for name in "abc"}) == 1 and classes["d"] == classes["e"] != classes["a"]
    assert "f" not in classes  # alone in its time


def test_streams_of_one_known_salt_period_are_compared_though_they_follow_each_other() -> None:
    tracks = tracks_of(("a", 0, 50), ("b", 60, 99), ("c", 100, 150), ("d", 160, 199))
    classes = stream_question(tracks, 100 * SECOND_US).classes.set_index("stream_id")["group"]
    assert classes["a"] == classes["b"] != classes["c"] == classes["d"]
    assert stream_question(tracks, 0).classes["group"].nunique() == 1


def test_a_sample_is_bounded_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST_WINDOWS", 200)
    rows = published(plant_dataset(tmp_path / "rows"))
    question = track_question(rows.tracks())
    (sample,), _ = rows.samples([question])
    (again,), _ = rows.samples([question])
    pd.testing.assert_frame_equal(sample, again)
    assert 130 < len(sample) < 270  # of 720, by chance: about 200
    assert sample["label"].nunique() == 12


def test_there_are_only_so_many_classes_and_whole_groups_of_them() -> None:
    spans = [(f"s{number}", 1000 * (number // 60), 1000 * (number // 60) + 500) for number in range(600)]
    question = stream_question(tracks_of(*spans), None)
    assert question.there == 600 and len(question.classes) == questions.MOST_CLASSES
    assert question.classes.groupby("group").size().max() == questions.MOST_STREAMS


def test_the_last_salt_period_of_each_stream_is_held_out(tmp_path: Path) -> None:
    rows = published(plant_dataset(tmp_path / "rows", days=3))
    question = across_salts_question(rows.tracks(), DAY_US, make_pseudonyms(), ["camera-0", "camera-1"])
    assert len(question.classes) == 6 and question.by_the_clock
    assert set(question.classes["cut_us"]) == {START_US + 2 * DAY_US}
