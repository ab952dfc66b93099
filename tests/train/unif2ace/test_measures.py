"""What is measured of drawings and answers: each measure has a case in which it is known what it must say."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.unif2ace import QUESTION, SEEN, unif2ace_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from streamfx.models.unif2ace import UniF2aceModel
from streamfx.train.unif2ace.drawn_measure import Read, found_as_faces, frechet, nearest
from streamfx.train.unif2ace.reading_measure import answers
from streamfx.train.unif2ace.tokens_measure import Compared


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 6), st.floats(0.1, 10))
def test_the_frechet_distance_is_none_to_itself_and_that_of_the_means_where_spreads_are_alike(
    seed: int, width: int, far: float
) -> None:
    some = np.random.default_rng(seed).normal(size=(40, width)) * np.arange(1, width + 1)
    assert abs(frechet(some, some)) < 1e-6
    assert frechet(some, some + far) == pytest.approx(width * far**2, rel=1e-6)
    other = np.random.default_rng(seed + 1).normal(size=(30, width))
    assert frechet(some, other) == pytest.approx(frechet(other, some), rel=1e-6)
    assert frechet(some, other) >= -1e-9


def test_the_frechet_distance_of_spreads_is_that_of_their_roots() -> None:
    # In one dimension (m - n)² + (s - t)², with deviations of n - 1.
    assert frechet(np.array([[-1.0], [1.0]]), np.array([[-3.0], [3.0]])) == pytest.approx((2**0.5 - 18**0.5) ** 2)
    with pytest.raises(ValueError, match="at least two pictures"):
        frechet(np.zeros((1, 2)), np.zeros((5, 2)))


def test_faces_agree_where_they_show_what_was_asked_and_only_those_asked_count() -> None:
    logits = {
        name: torch.tensor([1.0, -1.0, 1.0])
        for name in ("Eyeglasses", "No_Beard", "Smiling", "Mouth_Slightly_Open", "Wearing_Hat", "Male")
    }
    read = Read(["fear", "anger", "fear"], logits)
    found = read.agrees(
        [{"glasses": "yes", "sex": "female"}, {"glasses": "yes", "expression": "fear"}, {"beard": "yes"}]
    )
    assert [kept.tolist() for kept in found["glasses"]] == [[0, 1], [True, False]]
    assert [kept.tolist() for kept in found["beard"]] == [[2], [False]], "a net that sees no beard says No_Beard"
    assert [kept.tolist() for kept in found["sex"]] == [[0], [False]]
    assert [kept.tolist() for kept in found["expression_outside"]] == [[1], [False]]
    assert len(found["hat"][0]) == 0


def test_a_face_is_found_and_noise_is_not() -> None:
    face = np.array(Image.fromarray(data.astronaut()[40:170, 160:290]).resize((64, 64)))
    faces = torch.stack(
        (
            torch.from_numpy(face).permute(2, 0, 1) / 255,
            torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)),
        )
    )
    assert found_as_faces(faces).tolist() == [True, False]


def test_a_copy_has_all_codes_in_common() -> None:
    known = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert nearest(np.array([[5, 6, 7, 8], [1, 2, 7, 9]]), known).tolist() == [1.0, 0.5]


def test_what_survived_is_told_of_some_pictures_as_of_all() -> None:
    before = {
        "outside": torch.tensor([0, 1, 2, 3]),
        "units": torch.arange(20.0).view(4, 5),
        "glasses": torch.tensor([1.0, 1, -1, -1]),
    }
    after = {
        "outside": torch.tensor([0, 1, 0, 0]),
        "units": -before["units"],
        "glasses": torch.tensor([1.0, -1, 1, -1]),
    }
    found = Compared(before, after, torch.tensor([10.0, 20, 30, 40]))
    told = found.told()
    assert told["expression_outside"] == 0.5 and told["glasses_kept"] == 0.5 and told["glasses_new"] == 0.5
    assert told["r_au_12"] == pytest.approx(-1) and told["psnr_db"] == 25
    some = found.told(torch.tensor([0, 1]))
    assert some["expression_outside"] == 1 and math.isnan(some["glasses_new"]) and some["psnr_db"] == 15


def test_questions_are_answered_by_looking_without_looking_and_by_the_bare_words(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = UniF2aceModel.load(unif2ace_model(tmp_path_factory.mktemp("unif2ace") / "model"))
    options = json.dumps(["dark", "light"])
    questions = pd.DataFrame(
        {
            "question": [QUESTION, QUESTION, "dark " * 20, "what dark ?"],
            "options": [options, options, options, "[]"],
            "image": [5, 7, 5, 7],
            "answer": ["dark"] * 4,
        }
    )
    codes = torch.zeros(1, 4, dtype=torch.long)
    shown = {image: (codes, SEEN[n : n + 1]) for n, image in enumerate((5, 7))}
    told = answers(model, questions, shown)
    assert told["image"].tolist() == [5, 7], "neither a question that is too long nor one without options is asked"
    asked = [(QUESTION, ("dark", "light"))]
    [blind] = model.without_looking(asked)
    for row, image in enumerate((5, 7)):
        [raw], [score] = model.likelihoods(*shown[image], asked), model.scores(*shown[image], asked)
        for column, by in (("raw", raw[0]), ("said", score[0]), ("blind", blind)):
            assert told[column][row] == ("dark", "light")[int(by.argmax())]
