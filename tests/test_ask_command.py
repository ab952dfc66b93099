"""`streamfx ask`: what it prints of a picture and of a video, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.ask import ask_model
from helpers.astronaut import two_faces
from PIL import Image

from streamfx.cli.main import main
from streamfx.models.outside_files import FOLDER_ENV

pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")

GLASSES = "Does this person wear glasses?"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ask_model(tmp_path_factory.mktemp("ask") / "model")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces beside each other."""
    return two_faces(tmp_path_factory.mktemp("pictures") / "two.png")


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, ["ask", *words])


def test_each_face_of_a_picture_is_answered_about(weights: Path, picture: Path) -> None:
    done = ask(str(picture), GLASSES, "--model", str(weights))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(
        line.split()[0] in ("yes", "no") and f"face {n} of 2, pixels " in line for n, line in enumerate(lines, 1)
    )
    told = json.loads(ask(str(picture), GLASSES, "--model", str(weights), "--json").stdout)
    assert [face["answer"] for face in told["faces"]] == [line.split()[0] for line in lines]
    assert all(face["time_s"] is None and face["box"][0] < face["box"][2] for face in told["faces"])


def test_of_a_video_the_moment_is_told_at_which_the_face_is_seen_best(weights: Path) -> None:
    words = ("streamfx/assets/story.mp4", "Which expression is it?", "--answers", "happy,sad", "--answers", "neutral")
    done = ask(*words, "--model", str(weights), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["answers"] == ["happy", "sad", "neutral"] and told["faces"]
    assert all(face["time_s"] >= 0 and face["probability"] >= 1 / 3 for face in told["faces"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["Is he lying?"], 1, "rule "),
        (["Is this person older than 60?"], 1, "a question about age is sensitive"),
        (["Which hair colour is it?"], 2, "expected at least two different answers"),
        ([GLASSES, "--answers", "yes"], 2, "expected at least two different answers"),
    ],
)
def test_what_may_not_or_cannot_be_asked_is_said_before_anything_is_looked_at(
    picture: Path, words: list[str], code: int, says: str
) -> None:
    done = ask(str(picture), *words, "--model", "nowhere")
    assert done.exit_code == code and says in " ".join(done.output.split())


def test_for_a_name_that_no_model_has_none_of_another_kind_is_offered(picture: Path) -> None:
    done = ask(str(picture), GLASSES, "--model", "nobody")
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "no model 'nobody': expected a directory" in said and "shipped: ask" in said
    assert "expression" not in said


def test_without_the_weights_of_others_it_is_said_how_to_get_them(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path))
    done = ask(str(picture), GLASSES)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "ask needs weights that are not on this machine" in said
    assert "streamfx models fetch --ask" in said


def test_a_picture_without_a_face_and_a_file_that_is_none_are_said(weights: Path, tmp_path: Path) -> None:
    grey, text = tmp_path / "grey.png", tmp_path / "text.mp4"
    Image.new("RGB", (200, 200), (128, 128, 128)).save(grey)
    text.write_text("no video")
    done = ask(str(grey), GLASSES, "--model", str(weights))
    assert done.exit_code == 1 and "no face found" in done.output
    done = ask(str(text), GLASSES, "--model", str(weights))
    assert done.exit_code == 1 and "text.mp4" in done.output
