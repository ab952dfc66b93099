"""Captions of a model, corrected by what is known of the picture."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamfx.demo.run import CLIP
from streamfx.errors import EvaluationError
from streamfx.train.face_qa.captions import parse, render
from streamfx.train.face_qa.correct import SeenFacts, corrected
from streamfx.train.face_qa.facts import FACTS, HIDDEN, PRESENT, UNKNOWN
from streamfx.train.face_qa.phrases import TOLD

TRUTH = json.loads(CLIP.with_suffix(".truth.json").read_text())
SAID = "A woman with a smile. She has long hair. The sea is behind her."


def by(known: dict[str, str], caption: str = SAID) -> str:
    return corrected(caption, known, np.random.default_rng(0))


@pytest.mark.parametrize(
    "known", [{}, {"sex": "female", "smiling": "yes"}, {"beard": "no", "age": "old"}, {"smiling": UNKNOWN}], ids=str
)
def test_what_is_right_or_not_known_stays_word_for_word(known: dict[str, str]) -> None:
    assert by(known) == SAID


def test_a_wrong_sentence_makes_way_for_what_is_right() -> None:
    told = by({"sex": "male", "smiling": "yes", "long_hair": "yes"})
    assert told.startswith("She has long hair. The sea is behind her. ")
    assert parse(told) == {"sex": "male", "smiling": "yes", "long_hair": "yes"}


def test_of_what_cannot_be_seen_nothing_is_said() -> None:
    assert by({"long_hair": HIDDEN}) == "A woman with a smile. The sea is behind her."
    assert by({"long_hair": HIDDEN}, "A person with long hair.") == ""


def test_a_unit_of_unknown_strength_denies_only_that_there_is_none() -> None:
    known = {"au_12": PRESENT}
    assert by(known, "She has slightly upturned mouth corners.") == "She has slightly upturned mouth corners."
    assert by(known, "She has no upturned mouth corners.") == ""


values = st.fixed_dictionaries({}, optional={name: st.sampled_from(FACTS[name]) for name in TOLD})


@given(said=values, known=values, seed=st.integers(0, 99))
def test_a_corrected_caption_denies_nothing_that_is_known(
    said: dict[str, str], known: dict[str, str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    caption = render(said, rng)
    told = corrected(caption, known, rng)
    assert all(known.get(name, value) == value for name, value in parse(told).items())
    if all(known.get(name, value) == value for name, value in said.items()):
        assert told == caption


@pytest.fixture(scope="module")
def seen() -> Iterator[SeenFacts]:
    with SeenFacts("attributes-shared") as facts:
        yield facts


def test_a_net_says_what_it_surely_sees_of_a_face(seen: SeenFacts) -> None:
    shown = next(time_s for time_s, label, strength in TRUTH if label == "happiness" and strength > 0.9)
    with av.open(str(CLIP)) as clip:
        frame = min(clip.decode(video=0), key=lambda one: abs(float(one.time or 0) - shown))
    facts = seen.of(as_file(frame.to_ndarray(format="rgb24")))
    assert facts["smiling"] == "yes" and facts["glasses"] == "no"
    assert by({**facts}, "A person with no smile. The light is soft.").startswith("The light is soft. ")


def test_a_net_says_nothing_of_a_picture_without_a_face_and_what_is_no_picture_is_refused(seen: SeenFacts) -> None:
    assert seen.of(as_file(np.zeros((64, 64, 3), np.uint8))) == {}
    with pytest.raises(EvaluationError, match="a picture: not a readable picture"):
        seen.of(b"no picture")


def as_file(picture: npt.NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()
