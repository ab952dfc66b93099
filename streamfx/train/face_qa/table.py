"""The two tables of a set of questions and answers, as they lie on disk and as the trainer reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from streamfx.errors import ConfigError
from streamfx.sink.parquet_file import UnreadableParquet, read_table, write_table

QUESTIONS_FILE, IMAGES_FILE, CARD_FILE = "questions.parquet", "images.parquet", "DATA_CARD.md"
SPLITS = ("train", "validation", "test")
CAPTIONS, BASIC, SPECIAL = 1, 2, 3
"""The stages of training: captions, basic visual questions, specialised face tasks."""
TASKS = ("caption", "expression", "action_units", "attributes", "age", "sex", "pose", "light", "worn")
SEEN, NEW_PERSON, NEW_TEMPLATE, NEW_ATTRIBUTE = "", "person", "template", "attribute"
"""What of a question training never saw: nothing; who is shown; the wording as well; what is asked for as well."""

QUESTION_COLUMNS: Mapping[str, str] = {
    "image_id": "string",
    "person": "string",
    "split": "string",
    "stage": "int",
    "task": "string",
    "name": "string",
    "template": "string",
    "question": "string",
    "options": "string",
    "answer": "string",
    "held_out": "string",
    "value": "string",
}
"""A row for each question, sorted by split, image and stage.

- `image_id`: the key of the picture in `images.parquet`; `person`: who is shown, so that intervals can be over people;
- `split`: one of SPLITS; `stage`: CAPTIONS, BASIC or SPECIAL; `task`: one of TASKS;
- `name`: the attribute or action unit that is asked for, or another name within the task; "" for captions;
- `template`: the wording, for instance `have-07`;
- `question`; `options`: the possible answers as a JSON list, `[]` for open questions; `answer`: one of them, or text;
- `held_out`: SEEN in the split `train` and nowhere else; NEW_PERSON, NEW_TEMPLATE or NEW_ATTRIBUTE elsewhere;
- `value`: what the answer means, whatever its wording or letter: `yes`, `happiness`, `strong`; "" for captions.
"""
IMAGE_COLUMNS: Mapping[str, str] = {
    "image_id": "string",
    "split": "string",
    "person": "string",
    "source": "string",
    "clip": "string",
    "frame_index": "int",
    "time_s": "float",
    "file": "string",
    "box_x0": "float",
    "box_y0": "float",
    "box_x1": "float",
    "box_y1": "float",
    "eye_0_x": "float",
    "eye_0_y": "float",
    "eye_1_x": "float",
    "eye_1_y": "float",
    "age_years": "int",
    "digest": "string",
}
"""A row for each picture, and behind these columns one of text for each fact (`fact_<name>`), "" where it is not known.

- `source`: the folder that the picture came from; `file`: the clip or picture in it;
- `clip`, `frame_index`, `time_s`: of drawn sets; "" and -1 for pictures;
- `box_*`, `eye_*`: box of the face and middle of the eye at the viewer's left and right, pixels, as a drawn set has
  them; all 0 where nobody marked them, and the whole picture is the face;
- `age_years`: -1 where it is not known;
- `digest`: SHA-256 of a picture's file; "" for frames of clips.
"""
FACT = "fact_"
TYPES = {"string": "object", "int": "int32", "float": "float32"}
"""Types of the kinds of columns."""


def write_rows(path: Path, columns: Mapping[str, Sequence[object] | np.ndarray], kinds: Mapping[str, str]) -> None:
    """Write a table whole or not at all; equal columns give equal bytes."""
    table = pd.DataFrame(
        {name: pd.Series(np.asarray(columns[name], TYPES[kind]), dtype=TYPES[kind]) for name, kind in kinds.items()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table)


def read_questions(folder: Path) -> pd.DataFrame:
    """The questions of a set, with QUESTION_COLUMNS. ConfigError for a folder without them, or with other columns."""
    return _read(folder / QUESTIONS_FILE, list(QUESTION_COLUMNS))


def read_images(folder: Path) -> pd.DataFrame:
    """The pictures of a set, with IMAGE_COLUMNS and a column for each fact. ConfigError as for `read_questions`."""
    return _read(folder / IMAGES_FILE, list(IMAGE_COLUMNS))


def read_set(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pictures, and the questions with one more column, `image`: the number of their picture among these."""
    images, questions = read_images(folder), read_questions(folder)
    number = pd.Series(np.arange(len(images)), index=images["image_id"])
    return images, questions.assign(image=number.loc[questions["image_id"]].to_numpy())


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    hint = "expected a table as `streamfx train face-qa` writes it"
    try:
        table = read_table(path.read_bytes())
    except (OSError, UnreadableParquet) as error:
        raise ConfigError(f"{path}: {hint}: {error}; make the set again") from error
    if list(table.columns)[: len(columns)] != columns:
        odd = sorted({*columns} - {*table.columns}) or "their order"
        raise ConfigError(f"{path}: {hint}; its columns differ in {odd}; make the set again")
    return table
