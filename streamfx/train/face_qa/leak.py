"""Looks for what must not be in two splits: people, pictures, held-out wordings and attributes; and for duplicates."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from streamfx.errors import ConfigError
from streamfx.train.face_qa.facts import HELD_OUT, HELD_OUT_WORDS
from streamfx.train.face_qa.forms import is_held_out
from streamfx.train.face_qa.table import NEW_ATTRIBUTE, NEW_TEMPLATE, SEEN, SPLITS

CHECKS = (
    "nobody is in two splits",
    "no picture is in two splits, nor is its content",
    "held-out wordings are in the test alone",
    "held-out attributes are in the test alone, and no text elsewhere names them",
    "no question is asked twice of a picture",
    "every question is about a picture of its split",
)
"""What `check_leaks` makes sure of, as the data card says it."""


_NAMED = re.compile(rf"\b(?:{HELD_OUT_WORDS})\b", re.IGNORECASE)


def check_leaks(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    """ConfigError where the tables of a set break one of CHECKS, with all that is wrong and an example of each."""
    wrong = [
        *_in_two_splits(images, "person", "people"),
        *_in_two_splits(images, "image_id", "pictures"),
        *_in_two_splits(images[images["digest"] != ""], "digest", "contents of pictures"),
        *_held_out(questions),
        *_twice(questions),
        *_astray(questions, images),
    ]
    if wrong:
        raise ConfigError(f"the splits leak: {'; '.join(wrong)}; nothing may be measured on such a set")


def _in_two_splits(images: pd.DataFrame, column: str, what: str) -> list[str]:
    splits = images.groupby(column, sort=True)["split"].nunique()
    shared = splits.index[splits > 1]
    return _found(len(shared), f"{what} are in two splits", shared)


def _held_out(questions: pd.DataFrame) -> list[str]:
    found = []
    odd = sorted({*questions["split"]} - {*SPLITS})
    found += _found(len(odd), f"splits are none of {', '.join(SPLITS)}", odd)
    train, test = questions["split"] == "train", questions["split"] == "test"
    marked = questions["held_out"]
    wrong = questions[train != (marked == SEEN)]
    found += _found(len(wrong), "questions of training are marked as held out, or others are not", wrong["question"])
    by_template = questions["template"].map({one: is_held_out(one) for one in questions["template"].unique()})
    wrong = questions[(by_template & ~test) | (by_template & (marked != NEW_TEMPLATE))]
    found += _found(len(wrong), "questions have a held-out wording, but are not of the test", wrong["template"])
    of_attribute = questions["name"].isin(HELD_OUT)
    wrong = questions[of_attribute & (~test | (marked != NEW_ATTRIBUTE))]
    found += _found(len(wrong), "questions ask for a held-out attribute, but are not of the test", wrong["name"])
    others = questions[~of_attribute]
    for column in ("question", "options", "answer"):
        named = [text for text in others[column].unique() if names_held_out(text)]
        found += _found(len(named), f"texts of `{column}` name a held-out attribute", named)
    return found


def _twice(questions: pd.DataFrame) -> list[str]:
    again = questions[questions.duplicated(["image_id", "question", "options", "answer"])]
    return _found(
        len(again), "questions are asked twice of the same picture", again["image_id"] + ": " + again["question"]
    )


def _astray(questions: pd.DataFrame, images: pd.DataFrame) -> list[str]:
    split_of = dict(zip(images["image_id"], images["split"], strict=True))
    astray = questions[questions["image_id"].map(split_of) != questions["split"]]
    return _found(len(astray), "questions are about a picture that is not of their split", astray["image_id"])


def _found(count: int, what: str, examples: Iterable[object]) -> list[str]:
    if not count:
        return []
    return [f"{count} {what}, such as {next(iter(examples))!r}"]


def names_held_out(text: str) -> bool:
    """Whether a text names a held-out attribute."""
    return _NAMED.search(text) is not None
