"""The data card of a set: what is in it, what is held out, what was checked, and whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from streamfx.train.face_qa.facts import HELD_OUT
from streamfx.train.face_qa.forms import FORMS, HELD_OUT_FORMS
from streamfx.train.face_qa.labelled import LICENCES
from streamfx.train.face_qa.leak import CHECKS
from streamfx.train.face_qa.pictures import APART_S, FRAMES_PER_CLIP

DRAWN_LICENCE = "drawn by `streamfx synth` from CC0 data; nobody is shown"


def data_card(questions: pd.DataFrame, images: pd.DataFrame, seed: int, asked: str, correct_by: str = "") -> str:
    """The card as Markdown, after `check_leaks` has passed. `asked` names the model that wrote captions, "" for none, and
    `correct_by` the one by which they were corrected beside the labels."""
    captions = questions.loc[questions["task"] == "caption", "answer"]
    closed = questions[questions["name"].ne("") & questions["options"].ne("[]")]
    yes = closed[closed["value"].isin(["yes", "no"])]
    return "\n".join(
        [
            "# Questions and answers about faces",
            "",
            f"{len(questions):,} questions about {len(images):,} pictures, made by `streamfx train face-qa` with seed {seed}. "
            f"Of a clip, {FRAMES_PER_CLIP} frames at most were taken, at least {APART_S} s apart.",
            "",
            "## Pictures",
            "",
            *_sources(images),
            "",
            "## Questions",
            "",
            *_counted(questions, ["split", "stage", "task", "held_out"]),
            "",
            f"There are {captions.nunique():,} different captions, by the grammar of `train/face_qa`"
            + (f" and by `{asked}`, corrected by what is known of the pictures" if asked else "")
            + (f" and what `{correct_by}` is sure to see in labelled ones" if correct_by else "")
            + ". An empty `held_out` is training; `person` has other people, `template` other wordings as well, "
            "`attribute` asks for what training never names.",
            "",
            "## Held out",
            "",
            f"- attributes: {', '.join(HELD_OUT)}; they are asked for in the test alone, and no text elsewhere names them",
            f"- wordings: the last {HELD_OUT_FORMS} of each of the {len(FORMS)} kinds; they are used in the test alone",
            "- people: nobody in validation or test is in training, not even beside somebody else in a clip; where a set does "
            "not say who is shown, each picture counts as a person",
            "",
            "## Checked",
            "",
            *(f"- {check}" for check in CHECKS),
            "",
            f"All of it held. Share of `yes` among {len(yes):,} questions with `yes` or `no` as the answer: "
            f"{yes['value'].eq('yes').mean() if len(yes) else 0:.3f}. For attributes and action units it is one half in each "
            "split, source and sex by itself, so that neither `yes` nor a person's sex is a strategy. So a beard is asked for "
            "only where both answers occur, which is of men.",
            "",
            "## Answers",
            "",
            *_counted(closed, ["split", "name", "value"]),
            "",
            "## What it is not for",
            "",
            "No question asks who somebody is, or for ethnicity, religion, health, orientation or truthfulness, and none may "
            "be added. Drawn people show textbook expressions: what is measured on them does not hold for real faces. Clothes "
            "are not asked for, since a crop of the face does not show them. What covers a face is known, but not which part "
            "of it, so all parts of a covered face count as `cannot be seen`.",
            "",
        ]
    )


def _sources(images: pd.DataFrame) -> list[str]:
    rows = []
    for source, part in images.groupby("source", sort=True):
        drawn = bool(part["clip"].ne("").all())
        licence = DRAWN_LICENCE if drawn else LICENCES[str(source)]
        counts = part["split"].value_counts()
        numbers = " / ".join(f"{int(counts.get(split, 0)):,}" for split in ("train", "validation", "test"))
        rows.append([source, numbers, f"{part['person'].nunique():,}", licence])
    return _table(["source", "train / validation / test", "people", "licence"], rows)


def _counted(questions: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    counts = questions.groupby(list(columns), sort=True).size().reset_index(name="count")
    rows = ([*key, f"{count:,}"] for *key, count in counts.itertuples(index=False))
    return _table([*columns, "questions"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]
