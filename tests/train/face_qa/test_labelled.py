"""Labelled sets of others, recast as questions and answers; none of what must not be asked is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.labelled_sets import UTKFACE, WRITERS, picture, write_celeba

from streamfx.errors import ConfigError
from streamfx.models.celeba import CELEBA
from streamfx.train.face_qa.build import Sources, make_questions, picture_file
from streamfx.train.face_qa.labelled import LABELLED, LICENCES, celeba, disfa, utkface
from streamfx.train.face_qa.table import read_images, read_questions


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def made(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    make_questions(Sources(labelled=sets), out, seed=4)
    return out


def test_every_set_is_asked_about_and_has_a_licence(made: Path) -> None:
    images, card = read_images(made), (made / "DATA_CARD.md").read_text()
    assert {*images["source"]} == {*WRITERS} == {*LABELLED} == {*LICENCES}
    asked = read_questions(made).merge(images[["image_id", "source"]], on="image_id")
    tasks = asked.groupby("source")["task"].unique().map(set).to_dict()
    assert tasks["raf-db"] == tasks["affectnet"] == {"expression"}
    assert tasks["disfa"] == {"action_units"} and tasks["utkface"] <= {"age", "sex"}
    assert {"attributes", "sex", "worn"} <= tasks["celeba"]
    assert all(licence in card for licence in LICENCES.values())


def test_answers_are_balanced_in_each_set_by_itself_so_that_its_look_tells_none(made: Path) -> None:
    asked = read_questions(made).merge(read_images(made)[["image_id", "source", "fact_sex"]], on="image_id")
    told = asked[asked["value"].isin(["yes", "no"])]
    counts = told.groupby(["source", "split", "held_out", "name", "fact_sex", "value"]).size().unstack(fill_value=0)
    assert len(counts) > 50 and (counts["yes"] == counts["no"]).all()
    shown = asked[asked["template"].str.match(r"expression-\d")].groupby(["source", "split", "held_out"])["value"]
    assert {*shown.agg(lambda values: values.value_counts().nunique())} == {1}


def test_celeba_keeps_its_splits_people_and_labels(sets: dict[str, Path]) -> None:
    found = celeba(sets["celeba"], 0)
    assert found.columns["split"].tolist() == ["train"] * 20 + ["validation"] * 20 + ["test"] * 20
    assert found.columns["person"][:4].tolist() == ["celeba:1000"] * 4
    words = (sets["celeba"] / "Anno/list_attr_celeba.txt").read_text().splitlines()[2].split()[1:]
    told = dict(zip(CELEBA, words, strict=True))
    assert found.facts["sex"][0] == ("male" if told["Male"] == "1" else "female")
    assert found.facts["beard"][0] == ("no" if told["No_Beard"] == "1" else "yes")
    assert found.facts["glasses"][0] == ("yes" if told["Eyeglasses"] == "1" else "no")
    assert found.facts["eyes_closed"][0] == ""


def test_what_judges_looks_or_tells_skin_is_not_asked_for(made: Path) -> None:
    questions = read_questions(made)
    said = " ".join(questions["question"].unique()).lower()
    assert not any(word in said for word in ("attractive", "chubby", "double chin", "big nose", "big lips", "pale"))


def test_contempt_is_left_out_and_the_validation_set_of_affectnet_is_the_test(made: Path) -> None:
    images = read_images(made)
    affectnet = images[images["source"] == "affectnet"]
    assert len(affectnet) == 84 and not affectnet["file"].str.contains("/7/").any()
    assert {*affectnet.loc[affectnet["file"].str.startswith("val"), "split"]} == {"test"}
    assert {*affectnet.loc[affectnet["file"].str.startswith("train"), "split"]} == {"train", "validation"}


def test_race_is_neither_asked_nor_kept_and_pictures_are_found_without_it(sets: dict[str, Path], made: Path) -> None:
    found = utkface(sets["utkface"], 1)
    about = {name.split("_")[0]: number for number, name in enumerate(found.facts["sex"])}
    assert about and len(found) == len(UTKFACE)
    by_years = dict(zip(found.columns["age_years"].tolist(), range(len(found)), strict=True))
    assert found.facts["sex"][by_years[25]] == "male" and found.facts["sex"][by_years[8]] == "female"
    assert found.facts["age"][by_years[8]] == "child" and found.facts["age"][by_years[70]] == "old"
    assert str(found.columns["file"][by_years[25]]) == "part1/25_0_*20170116174525125.jpg.chip.jpg"
    whole = (sets["utkface"] / "part1" / UTKFACE[0]).read_bytes()
    assert picture_file(found, by_years[25], {"utkface": sets["utkface"]}) == whole
    kept = read_images(made).astype(str).to_csv() + read_questions(made).to_csv() + (made / "DATA_CARD.md").read_text()
    assert "25_0_3" not in kept and "race" not in kept.replace("race;", "") and "ethnicity, religion" in kept


def test_two_pictures_that_differ_in_race_alone_are_left_out(tmp_path: Path) -> None:
    for name in ("25_0_3_20170116174525125.jpg", "25_0_1_20170116174525125.jpg", "8_1_0_20170116174525126.jpg"):
        picture(tmp_path / name)
    assert utkface(tmp_path, 1).columns["age_years"].tolist() == [8]


def test_disfa_is_thinned_and_its_units_are_present_or_not(sets: dict[str, Path]) -> None:
    found = disfa(sets["disfa"], 1)
    assert len(found) == 40 and not any("11.jpg" in str(file) for file in found.columns["file"])
    assert {*found.facts["au_12"]} == {"present", "none"} and {*found.facts["au_05"]} == {""}


def test_a_picture_that_is_there_twice_is_kept_once_in_the_test(sets: dict[str, Path], tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba")
    folder = root / "Img" / "img_align_celeba"
    (folder / "000001.jpg").write_bytes((folder / "000060.jpg").read_bytes())
    make_questions(Sources(labelled={"celeba": root}), tmp_path / "out", seed=1)
    images = read_images(tmp_path / "out")
    assert len(images) == 59 and "celeba/Img/img_align_celeba/000001.jpg" not in {*images["image_id"]}


def test_people_who_are_in_two_splits_of_a_set_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba")
    file = root / "Anno" / "identity_CelebA.txt"
    file.write_text(file.read_text().replace("000060.jpg 1014", "000060.jpg 1000"))
    with pytest.raises(ConfigError, match="1 people are in two splits, such as 'celeba:1000'"):
        make_questions(Sources(labelled={"celeba": root}), tmp_path / "out", seed=1)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"expected UTKFace's pictures, such as 25_0_2_20170116174525125\.jpg, found none"
    ):
        utkface(tmp_path, 1)
