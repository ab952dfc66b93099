"""Whatever is in two splits, or asked twice, is found and named."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from streamfx.errors import ConfigError
from streamfx.train.face_qa.leak import check_leaks

Change = Callable[[pd.DataFrame, pd.DataFrame], None]


def test_what_is_made_does_not_leak(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    check_leaks(questions, images)


def set_in(split: str, column: str, value: str) -> Change:
    def change(questions: pd.DataFrame, images: pd.DataFrame) -> None:
        first = questions.index[(questions["split"] == split) & (questions["task"] != "caption")][0]
        questions.loc[first, column] = value

    return change


def share_a_person(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    images.loc[images.index[-1], "person"] = images.loc[images.index[0], "person"]


def share_a_picture(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    images.loc[images.index[-1], "image_id"] = images.loc[images.index[0], "image_id"]


def share_a_file(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    images.loc[[images.index[0], images.index[-1]], "digest"] = "ab12"


def repeat(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    questions.iloc[1] = questions.iloc[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (share_a_person, "1 people are in two splits, such as 's"),
        (share_a_picture, "1 pictures are in two splits, such as 's"),
        (share_a_file, "1 contents of pictures are in two splits, such as 'ab12'"),
        (repeat, "1 questions are asked twice of the same picture"),
        (set_in("train", "template", "have-15"), "have a held-out wording, but are not of the test, such as 'have-15'"),
        (set_in("validation", "template", "age-10"), "have a held-out wording, but are not of the test"),
        (set_in("train", "name", "glasses"), "ask for a held-out attribute, but are not of the test"),
        (set_in("validation", "name", "hat"), "ask for a held-out attribute, but are not of the test"),
        (set_in("train", "question", "Is this a Cap?"), "1 texts of `question` name a held-out attribute"),
        (set_in("train", "options", '["bald", "with a hat"]'), "1 texts of `options` name a held-out attribute"),
        (set_in("train", "answer", "a curly head"), "1 texts of `answer` name a held-out attribute"),
        (set_in("test", "answer", "sunglasses"), "1 texts of `answer` name a held-out attribute"),
        (set_in("train", "held_out", "person"), "questions of training are marked as held out, or others are not"),
        (set_in("test", "held_out", ""), "questions of training are marked as held out, or others are not"),
        (set_in("train", "split", "validation"), "1 questions are about a picture that is not of their split"),
        (set_in("train", "split", "dev"), "1 splits are none of train, validation, test"),
        (set_in("train", "image_id", "gone"), "1 questions are about a picture that is not of their split"),
    ],
)
def test_a_planted_leak_is_named(questions: pd.DataFrame, images: pd.DataFrame, change: Change, said: str) -> None:
    change(questions, images)
    with pytest.raises(ConfigError, match="the splits leak") as raised:
        check_leaks(questions, images)
    assert said in str(raised.value)


def test_all_leaks_are_named_at_once(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    share_a_person(questions, images)
    repeat(questions, images)
    with pytest.raises(ConfigError, match=r"in two splits.*; .*asked twice"):
        check_leaks(questions, images)
