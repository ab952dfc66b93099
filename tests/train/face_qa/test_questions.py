"""Questions about drawn faces: true, balanced, shuffled, held out, and the same for the same seed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streamfx.errors import ConfigError, SynthError
from streamfx.synth.output import read_set
from streamfx.train.face_qa.balance import deal
from streamfx.train.face_qa.build import Sources, make_questions
from streamfx.train.face_qa.captions import parse
from streamfx.train.face_qa.facts import ATTRIBUTES, HELD_OUT, UNITS
from streamfx.train.face_qa.table import IMAGE_COLUMNS, QUESTION_COLUMNS, TASKS, read_images, read_questions
from streamfx.train.face_qa.words import WORDINGS


def test_a_set_has_the_columns_that_the_trainer_reads(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    assert [*questions] == [*QUESTION_COLUMNS] and [*images][: len(IMAGE_COLUMNS)] == [*IMAGE_COLUMNS]
    assert {*questions["task"]} == {*TASKS} and {*questions["split"]} == {"train", "validation", "test"}
    assert {*questions["stage"]} == {1, 2, 3}
    assert {*questions["image_id"]} <= {*images["image_id"]} and images["image_id"].is_unique


def test_questions_come_by_split_and_picture(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    place = {name: number for number, name in enumerate(images["image_id"])}
    order = [
        (("train", "validation", "test").index(split), place[one], stage)
        for split, one, stage in zip(questions["split"], questions["image_id"], questions["stage"], strict=True)
    ]
    assert order == sorted(order)


def test_the_answer_is_among_the_options_each_of_which_is_there_once(questions: pd.DataFrame) -> None:
    for options, answer in zip(questions["options"].map(json.loads), questions["answer"], strict=True):
        assert not options or (answer in options and len({*options}) == len(options))
    assert questions.loc[questions["options"] == "[]", "task"].isin(["caption", "age"]).all()


def test_answers_say_what_the_truth_says(questions: pd.DataFrame, images: pd.DataFrame) -> None:
    table = questions.merge(images.drop(columns=["split", "person"]), on="image_id")
    assert len(table) == len(questions)
    for name in [*ATTRIBUTES, *UNITS]:
        asked = table[(table["name"] == name) & table["template"].str.match("have|be|wear|unit")]
        truth = asked[f"fact_{name}"].replace({"slight": "yes", "clear": "yes", "strong": "yes", "none": "no"})
        assert (asked["value"] == truth).all()
    for name, fact in (("expression", "expression"), ("sex", "sex"), ("age_band", "age"), ("light", "light")):
        asked = table[table["name"] == name]
        assert len(asked) and (asked["value"] == asked[f"fact_{fact}"]).all()
    years = table[table["name"] == "age_years"]
    assert len(years) and (years["answer"].astype(int) == years["age_years"]).all()
    told = table[table["task"] == "caption"]
    for row in told.iloc[::7].to_dict("records"):
        assert all(row[f"fact_{name}"] == value for name, value in parse(row["answer"]).items())


def test_of_the_attributes_with_letters_the_right_one_alone_is_there(
    questions: pd.DataFrame, images: pd.DataFrame
) -> None:
    facts = images.set_index("image_id")
    names = {about.short: name for name, about in WORDINGS.items()}
    which = questions[questions["template"].str.startswith("which")]
    for image, text, answer, value in which[["image_id", "question", "answer", "value"]].itertuples(index=False):
        listed = dict(re.findall(r"\b([A-D])\. (.*?)(?= [A-D]\. |$)", text))
        assert [*listed] == [*"ABCD"] and names[listed[answer]] == value
        there = {letter: facts.loc[image, f"fact_{names[option]}"] for letter, option in listed.items()}
        assert there == {letter: "yes" if letter == answer else "no" for letter in listed}


def test_a_letter_stands_before_the_right_expression(questions: pd.DataFrame) -> None:
    words = {"happy": "happiness", "sad": "sadness", "calm": "neutral", "angry": "anger", "surprised": "surprise",
             "disgusted": "disgust", "afraid": "fear"}  # fmt: skip
    lettered = questions[questions["template"].str.startswith("expression-letters")]
    for text, answer, value in zip(lettered["question"], lettered["answer"], lettered["value"], strict=True):
        word = text.split(f" {answer}. ")[1].split(" ")[0]
        assert words.get(word, word) == value


def test_yes_is_right_half_the_time_in_each_split_and_for_each_sex(
    questions: pd.DataFrame, images: pd.DataFrame
) -> None:
    table = questions.merge(images[["image_id", "fact_sex"]], on="image_id")
    table = table[table["value"].isin(["yes", "no"])]
    assert len(table) > 100
    counts = table.groupby(["split", "held_out", "name", "fact_sex", "value"]).size().unstack(fill_value=0)
    assert (counts["yes"] == counts["no"]).all()


def test_every_class_and_every_letter_is_right_equally_often(questions: pd.DataFrame) -> None:
    for kind in ("expression", "expression-letters"):
        asked = questions[(questions["split"] == "train") & questions["template"].str.match(rf"{kind}-\d")]
        assert len({*asked["value"].value_counts()}) == 1
    letters = asked["answer"].value_counts()
    assert letters.max() - letters.min() <= 1 and {*letters.index} == {*"ABCDEFG"}


def test_cannot_be_seen_is_the_answer_where_something_is_covered_or_turned_away(
    questions: pd.DataFrame, images: pd.DataFrame
) -> None:
    hidden = questions[questions["answer"] == "cannot be seen"].merge(images, on="image_id")
    assert len(hidden) > 10
    for row in hidden.to_dict("records"):
        assert row[f"fact_{row['name']}"] == "hidden"
    offered = questions[questions["name"] == "smiling"]["options"]
    assert offered.str.contains("cannot be seen").sum() == (offered.str.contains("yes")).sum()


def test_four_attributes_and_three_wordings_of_each_kind_are_in_the_test_alone(questions: pd.DataFrame) -> None:
    for split, part in questions.groupby("split"):
        held = {*part.loc[part["name"].isin(HELD_OUT), "held_out"]}
        assert held == ({"attribute"} if split == "test" else set())
        assert ("template" in {*part["held_out"]}) == (split == "test")
    assert {*questions.loc[questions["split"] == "train", "held_out"]} == {""}


def test_a_held_out_wording_asks_what_a_seen_one_asks(questions: pd.DataFrame) -> None:
    test = questions[(questions["split"] == "test") & (questions["held_out"] != "attribute")]
    key = ["image_id", "stage", "name", "options", "answer", "value"]
    pairs = [part[key].sort_values(key).to_numpy().tolist() for _, part in test.groupby("held_out")]
    assert len(pairs) == 2 and pairs[0] == pairs[1]


def test_of_a_clip_four_frames_at_most_are_taken_half_a_second_apart(images: pd.DataFrame) -> None:
    for _, part in images.groupby("clip"):
        times = np.sort(part["time_s"])
        assert 1 <= len(times) <= 4 and (np.diff(times) >= 0.5).all()


def test_nobody_is_in_two_splits(images: pd.DataFrame) -> None:
    assert (images.groupby("person")["split"].nunique() == 1).all()


def test_nobody_stands_beside_a_person_of_another_split(images: pd.DataFrame, drawn: Path) -> None:
    _, _, frames = read_set(drawn)
    split_of = dict(zip(images["person"], images["split"], strict=True))
    pictured = dict(zip(images["clip"], images["split"], strict=True))
    beside = frames[frames["face"] == 1].drop_duplicates("clip")
    kept = [(pictured[clip], split_of.get(who)) for clip, who in zip(beside["clip"], beside["identity"], strict=True)
            if clip in pictured]  # fmt: skip
    assert 0 < len(kept) < len(beside) and all(split == other for split, other in kept)


def test_a_tenth_of_the_people_each_is_for_validation_and_for_the_test() -> None:
    people = np.array([f"p{number % 40}" for number in range(200)], object)
    splits = pd.Series(deal(people, seed=1))
    assert splits.groupby(people).nunique().max() == 1
    assert splits.groupby(splits).count().to_dict() == {"train": 160, "validation": 20, "test": 20}
    assert {*deal(people, seed=1, without=["test"])} == {"train", "validation"}
    assert (deal(people, seed=2) != splits).any()


def test_equal_seeds_give_equal_bytes_and_others_do_not(
    drawn: Path, drawn_test: Path, made: Path, tmp_path: Path
) -> None:
    sources = Sources([drawn], test=[drawn_test])
    make_questions(sources, tmp_path / "again", seed=5)
    for name in ("questions.parquet", "images.parquet", "DATA_CARD.md"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()
    make_questions(sources, tmp_path / "other", seed=6)
    assert (tmp_path / "other" / "questions.parquet").read_bytes() != (made / "questions.parquet").read_bytes()


def test_a_split_with_sets_of_its_own_takes_nobody_from_others(images: pd.DataFrame) -> None:
    assert {*images.loc[images["split"] == "test", "source"]} == {"second"}
    assert {*images.loc[images["source"] == "first", "split"]} == {"train", "validation"}


def test_a_set_that_is_given_twice_is_named(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected each picture in one set alone, got it in 2"):
        make_questions(Sources([drawn], test=[drawn]), tmp_path / "out", seed=5)
    assert not (tmp_path / "out").exists()


def test_what_is_no_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least one set of pictures"):
        make_questions(Sources(), tmp_path, seed=5)
    with pytest.raises(SynthError, match="holds no set by `streamfx synth`"):
        make_questions(Sources([tmp_path]), tmp_path, seed=5)
    with pytest.raises(ConfigError, match="expected a table as `streamfx train face-qa` writes it"):
        read_questions(tmp_path)
    (tmp_path / "images.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(ConfigError, match="make the set again"):
        read_images(tmp_path)


def test_the_card_says_what_is_there_and_what_was_checked(made: Path, questions: pd.DataFrame) -> None:
    card = (made / "DATA_CARD.md").read_text()
    assert f"{len(questions):,} questions about" in card and "nobody is in two splits" in card
    assert "glasses, hat, wavy_hair, bangs" in card and "0.500" in card and "CC0" in card
