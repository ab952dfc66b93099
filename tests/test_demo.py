"""The demo: a picture of the scores, and a count of how often they are right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamfx.demo.picture import COLOURS, ScoredWindow, draw_scores
from streamfx.demo.run import CLIP, agreement, main, scored_windows, true_expression
from streamfx.errors import ConfigError
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.report.library import UPLOT

TRUTH = [(t / 5, "neutral" if t < 15 else "anger", 0.0 if t < 15 else 1.0) for t in range(30)]
"""Three seconds at rest, then three of anger."""


def window(start_s: float, top: str, frames: int = 16, sure: float = 0.7) -> ScoredWindow:
    rest = (1 - sure) / (len(LABELS_7) - 1)
    scores = {label: sure if label == top else rest for label in LABELS_7}
    return ScoredWindow(start_s, start_s + 2, frames, sound=True, scores=scores)


def drawn(tmp_path: Path, windows: list[ScoredWindow], truth: list[tuple[float, str, float]]) -> np.ndarray:
    draw_scores(windows, truth, "title", "caption", tmp_path / "scores.png")
    return np.asarray(Image.open(tmp_path / "scores.png"))


def area_of(picture: np.ndarray, label: str) -> int:
    """Number of pixels in an expression's own colour, full or light."""
    own = np.array(COLOURS[label])
    light = np.round(255 - (255 - own) * 0.6)
    return int(sum((np.abs(picture.astype(int) - colour).max(axis=2) <= 1).sum() for colour in (own, light)))


def test_windows_during_a_change_have_no_true_expression() -> None:
    found = [true_expression(window(start_s, "fear"), TRUTH) for start_s in (0, 1, 2, 3, 4)]
    assert found == ["neutral", "neutral", None, "anger", "anger"]


def test_an_expression_that_has_barely_begun_does_not_count_yet() -> None:
    rising = [(t / 5, "anger", t / 20) for t in range(10)]
    assert true_expression(window(0, "anger"), rising) == "neutral"


def test_only_clear_windows_count() -> None:
    right, wrong, change = window(0, "neutral"), window(3, "fear"), window(2, "neutral")
    few_faces = window(1, "anger", frames=11)
    assert agreement([right, few_faces, change, wrong], TRUTH) == (1, 2)
    assert agreement([right, wrong], []) == (0, 0)


@given(st.lists(st.sampled_from(LABELS_7), min_size=5, max_size=5))
def test_agreement_is_the_share_of_windows_with_the_true_expression(said: list[str]) -> None:
    windows = [window(start_s, top) for start_s, top in enumerate(said)]
    true = ["neutral", "neutral", None, "anger", "anger"]
    assert agreement(windows, TRUTH) == (sum(a == b for a, b in zip(said, true, strict=True)), 4)


def test_a_higher_score_fills_more_of_its_lane(tmp_path: Path) -> None:
    low, high = ([window(start_s, "disgust", sure=sure) for start_s in range(5)] for sure in (0.4, 0.9))
    low_picture, high_picture = drawn(tmp_path, low, []), drawn(tmp_path, high, [])
    assert area_of(high_picture, "disgust") > 1.5 * area_of(low_picture, "disgust")
    assert area_of(high_picture, "sadness") < area_of(low_picture, "sadness")


def test_the_truth_is_a_band_on_top_and_without_truth_there_is_none(tmp_path: Path) -> None:
    windows = [window(start_s, "fear") for start_s in range(5)]
    with_truth, without = drawn(tmp_path, windows, TRUTH), drawn(tmp_path, windows, [])
    assert with_truth.shape[0] > without.shape[0] and with_truth.shape[1] == without.shape[1] == 1200
    assert area_of(with_truth, "anger") > area_of(without, "anger") + 10_000


def test_a_stretch_without_windows_stays_empty(tmp_path: Path) -> None:
    whole = [window(start_s, "fear") for start_s in range(20)]
    holed = [w for w in whole if not 5 <= w.start_s < 15]
    assert area_of(drawn(tmp_path, holed, []), "fear") < 0.65 * area_of(drawn(tmp_path, whole, []), "fear")


def test_an_hour_and_labels_of_another_model_can_be_drawn(tmp_path: Path) -> None:
    scores = {"contempt": 0.8, "boredom": 0.2}
    windows = [ScoredWindow(start_s, start_s + 2, 16, sound=False, scores=scores) for start_s in range(3600)]
    assert drawn(tmp_path, windows, []).shape[1] == 1200
    assert drawn(tmp_path, windows[:1], []).shape[1] == 1200


def test_rows_at_the_edges_are_cut_to_the_video() -> None:
    times = pd.to_datetime(["2026-01-02 03:04:04", "2026-01-02 03:04:05", "2026-01-02 03:04:06"])
    rows = pd.DataFrame(
        {"window_start": times, "window_end": times + pd.Timedelta(seconds=2), "frames": [8, 16, 12],
         "audio_present": [True, True, False], "p_anger": [0.2, 0.4, 0.6], "p_fear": [0.8, 0.6, 0.4], "p_bliss": np.nan}
    )  # fmt: skip
    found = scored_windows(rows, times[1], times[1] + pd.Timedelta(seconds=2.5))
    assert [(w.start_s, w.end_s, w.frames, w.sound) for w in found] == [
        (0, 1, 8, True),
        (0, 2, 16, True),
        (1, 2.5, 12, False),
    ]
    assert [w.top for w in found] == ["fear", "fear", "anger"] and found[0].scores == {"anger": 0.2, "fear": 0.8}


def run_demo(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "streamfx.demo", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_shows_its_clip_beside_the_truth(tmp_path: Path) -> None:
    printed = run_demo(tmp_path)
    assert "out/demo/dataset/windows" in printed and "out/demo/scores.png" in printed
    assert "windows name the true expression" in printed and "(changes)" in printed
    assert_report(tmp_path, printed, "out/demo/report.html", synthetic=True)
    (masked,) = (line.split()[-1] for line in printed.splitlines() if line.startswith("Masked picture"))
    assert (np.asarray(Image.open(tmp_path / masked)).max(axis=2) == 0).mean() > 0.1
    picture = np.asarray(Image.open(tmp_path / "out/demo/scores.png"))
    assert all(area_of(picture, label) > 500 for label in LABELS_7)
    assert "already in the dataset" in run_demo(tmp_path)


def assert_report(folder: Path, printed: str, name: str, synthetic: bool) -> None:
    """The demo ends with the page and names it, or with the command that fetches what the page is drawn with."""
    if not UPLOT.is_here:
        assert "No report was made" in printed and "streamfx models fetch" in printed
        return
    page = (folder / name).read_text()
    assert printed.rstrip().splitlines()[-1].startswith(f"Report:          {name}")
    assert ("is synthetic" in page) == synthetic and "not a feeling" in page


@pytest.fixture
def my_video(tmp_path: Path) -> Path:
    """The first five seconds of the demo's clip, as a user's own video."""
    path = tmp_path / "it's ${HOME} $mine 😀.mp4"
    with av.open(str(CLIP)) as source, av.open(str(path), "w") as out:
        (stream,) = source.streams.video
        copy = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts * packet.time_base < 5:
                packet.stream = copy
                out.mux(packet)
    return path


def test_a_users_own_video_gets_the_picture_without_ground_truth(tmp_path: Path, my_video: Path) -> None:
    printed = run_demo(tmp_path, my_video)
    assert (
        "out/demo/it's ${HOME} $mine 😀.mp4/scores.png" in printed
        and "truth" not in printed
        and "true expression" not in printed
    )
    assert (tmp_path / "out/demo/it's ${HOME} $mine 😀.mp4/scores.png").exists()
    assert not (tmp_path / "out/demo/scores.png").exists()
    assert_report(tmp_path, printed, "out/demo/it's ${HOME} $mine 😀.mp4/report.html", synthetic=False)


def test_an_unwritable_output_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match=r"out/demo: cannot be made: Not a directory"):
        main(None)


def test_a_missing_video_is_an_error_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamfx.demo", "nothing.mp4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("Error: ") and "nothing.mp4" in last
    assert "Traceback" not in done.stderr
