"""Detectors of a user's own, registered by a package outside this repository, fill what else a film must not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import runs
from helpers.films import read_film, street, write_film
from helpers.foreign import FOREIGN, INSTALLED

from streamfx.detection.also import check_also, together
from streamfx.detection.centerface import Detection
from streamfx.errors import ConfigError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is installed in this process."""
    monkeypatch.syspath_prepend(str(FOREIGN))
    yield


class Faces:
    """Finds one face, of which it is not very sure."""

    def detect(self, picture: np.ndarray, threshold: float) -> list[Detection]:
        return [Detection(0, 0, 8, 8, 0.3, ())]


def test_faces_and_what_others_find_come_together_best_first(installed: None) -> None:
    found = together(Faces(), ["plates"]).detect(street(0, 4), 0.1)
    assert [(seen.x0, seen.x1, seen.score) for seen in found] == [(20, 80, 0.9), (0, 8, 0.3)]
    faces = Faces()
    assert together(faces, []) is faces


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "plate",
            r"detector 'plate' is not installed .*; installed are: broken, plates, stranger; did you mean 'plates'\?",
        ),
        ("stranger", "is not a subclass of streamfx.detection.also.OwnDetector"),
        ("broken", "could not be made: FileNotFoundError: plates.onnx"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(installed: None, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        together(Faces(), [name])


def test_without_such_a_package_the_message_says_so() -> None:
    with pytest.raises(ConfigError, match="installed are: none"):
        check_also(["plates"])


def test_a_plate_is_filled_in_every_frame_of_a_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "street.mp4", (street(number, 4) for number in range(20)))
    told = {}
    for also in ((), ("--also", "plates")):
        out = tmp_path / f"out{len(also)}"
        done = runs.streamfx("redact", film, "--out", out, "--json", *also, env=INSTALLED)
        assert done.returncode == 0, done.stderr
        pictures, _ = read_film(out / "street.mp4")
        told[also] = [picture.max() for picture in pictures], json.loads(done.stdout)
    shown, hidden = told.values()
    assert min(shown[0]) > 230 and len(shown[0]) == 20
    assert max(hidden[0]) < 120 and hidden[1]["tracks"] == 1


def test_detectors_for_films_need_films(tmp_path: Path) -> None:
    config = runs.write_config(tmp_path, runs.tree(tmp_path, [tmp_path], redact={"also": ["plates"]}))
    done = runs.streamfx("config", "check", config, env=INSTALLED)
    assert (
        done.returncode != 0 and "redact: also: these detectors are asked for films alone" in done.stdout + done.stderr
    )
