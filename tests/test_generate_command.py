"""`streamfx generate`: what it draws, what it answers about faces, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.astronaut import two_faces
from helpers.unif2ace import unif2ace_model
from PIL import Image

from streamfx.cli.main import main
from streamfx.models.unif2ace_words import SPECIAL, Words
from streamfx.train.face_mllm.tower import fingerprint, open_tower

WEIGHTS = Path(__file__).parents[1] / "weights"
TEXTS = "a smiling woman . does this person wear glasses ? is it which expression happy sad yes no"
GLASSES = "Does this person wear glasses?"


def model_with(root: Path, encoder: str, digest: str | None = None) -> Path:
    tower = open_tower((str(WEIGHTS / "expression-small"),) * 2, 4)
    words = Words((*SPECIAL, *dict.fromkeys(TEXTS.split())))
    named = ((encoder,), (encoder,), fingerprint(tower) if digest is None else digest)
    return unif2ace_model(root / "model", 1, words, named, (4, 128, 128), places=24)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # As a recipe names it; where the folder is not there, the model that ships under its name is meant.
    return model_with(tmp_path_factory.mktemp("unif2ace"), "nowhere/expression-small")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces beside each other."""
    return two_faces(tmp_path_factory.mktemp("pictures") / "two.png")


def generate(*words: str) -> Result:
    return CliRunner().invoke(main, ["generate", *words])


def test_a_face_is_drawn_and_words_that_are_not_known_are_named(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "face.png"
    done = generate("a smiling zebra", "--count", "9", "--model", str(weights), "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "not known, and left out: zebra" in done.output and Image.open(out).size == (64, 16)


def test_a_model_that_ships_is_found_by_its_name(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(weights, tmp_path / "weights" / "unif2ace")
    monkeypatch.setattr("streamfx.models.card.shipped", lambda folder: tmp_path / folder)
    done = generate("a woman", "--seed", str(2**70), "--out", str(tmp_path / "face.png"))
    assert done.exit_code == 0, done.output
    told = CliRunner().invoke(main, ["models", "list"])
    assert "unif2ace-for-tests" in told.output and "8 px" in told.output


def test_each_face_of_a_picture_is_answered_about(weights: Path, picture: Path) -> None:
    done = generate(GLASSES, "--read", str(picture), "--model", str(weights))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for n, line in enumerate(lines, 1):
        answer, share, _ = line.split(maxsplit=2)
        assert answer in ("yes", "no") and 0.5 <= float(share) <= 1 and f"face {n} of 2, pixels " in line


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["Is he lying?", "--read", "a.png"], 1, "rule "),
        (["Which country is he from?", "--read", "a.png", "--answers", "a,b"], 1, "rule "),
        (["Is this person male?", "--read", "a.png"], 1, "a question about sex is sensitive"),
        (["Which hair colour is it?", "--read", "a.png"], 2, "expected at least two different answers"),
        ([GLASSES, "--read", "a.png", "--out", "b.png"], 2, "--out is not for --read"),
        ([GLASSES, "--read", "a.png", "--seed", "2"], 2, "--seed is not for --read"),
        (["a woman", "--out", "b.png", "--answers", "a,b"], 2, "--answers is only for --read"),
        (["a woman"], 2, "expected --out FILE.png"),
        (["a woman", "--out", "b.jpg"], 1, "expected a name that ends in .png"),
        (["a woman", "--out", "b.png"], 1, "since none of its kind ships"),
        ([GLASSES, "--read", "a.png"], 1, "since none of its kind ships"),
    ],
)
def test_what_may_not_or_cannot_be_asked_is_said_before_anything_is_looked_at(
    words: list[str], code: int, says: str
) -> None:
    done = generate(*words, "--model", "nowhere")
    assert done.exit_code == code and says in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["zebra", "--out", "b.png"], "expected a description in words that the model learned"),
        (
            [GLASSES, "--read", "a.png", "--answers", "yes,hat"],
            "--answers: expected words that the model learned, got 'hat'",
        ),
        (["Is it " + "smiling " * 25 + "?", "--read", "a.png"], "expected a shorter question"),
        ([GLASSES, "--read", "a.png"], "a.png"),
    ],
)
def test_what_a_model_cannot_do_is_said(weights: Path, words: list[str], says: str) -> None:
    done = generate(*words, "--model", str(weights))
    assert done.exit_code == 1 and says in " ".join(done.output.split())


def test_a_picture_without_a_face_is_said(weights: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), (128, 128, 128)).save(grey)
    done = generate(GLASSES, "--read", str(grey), "--model", str(weights))
    assert done.exit_code == 1 and "no face found" in done.output


def test_other_encoders_than_those_learned_with_are_refused(tmp_path: Path, picture: Path) -> None:
    model = model_with(tmp_path, str(WEIGHTS / "expression-small"), digest="of others")
    done = generate(GLASSES, "--read", str(picture), "--model", str(model))
    assert done.exit_code == 1 and "expected the encoders with which it learned to read" in done.output
