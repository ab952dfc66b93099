"""The whole training on a drawn set: what the tower sees is kept, a second call changes nothing, and errors say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.drawn_sets import write_drawn_set
from helpers.language_models import write_language_model
from safetensors import safe_open

from streamfx.errors import ConfigError, ModelError
from streamfx.models.ask import AskModel
from streamfx.train.face_mllm.recipe import FaceMllmRecipe
from streamfx.train.face_mllm.run import LEARNED_FILE, MODEL, train_face_mllm
from streamfx.train.face_mllm.tower import open_tower, see
from streamfx.train.face_qa.build import Sources, make_questions
from streamfx.train.face_qa.table import read_images

pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")

REPO = Path(__file__).parents[3]
TOWER = (str(REPO / "weights" / "expression-small"),)
STEPS = {"epochs": 1, "batch_size": 8, "blr": 0.05, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> FaceMllmRecipe:
    root = tmp_path_factory.mktemp("mllm")
    drawn = write_drawn_set(root / "drawn", seed=1, people=20, own_pictures=True)
    others = write_drawn_set(root / "others", seed=2, people=14, own_pictures=True)
    make_questions(Sources([drawn], validation=[others]), root / "questions", seed=5)
    return FaceMllmRecipe.model_validate({
        "data": {"questions": root / "questions", "sets": [drawn, others], "cache": root / "cache"},
        "llm": str(write_language_model(root / "llm")),
        "tower": TOWER,
        "tokens": 4,
        "rank": 2,
        "words": STEPS,
        "captions": {**STEPS, "learns": ["projector"], "questions": 1},
        "basic": STEPS,
        "special": STEPS,
        "earlier": 0.5,
        "measured": {"pictures": 60, "written": 3},
        "origin": {"licence": "none", "source": "a test"},
        "run": {"out": root / "out", "threads": 1, "precision": "bf16"},
    })  # fmt: skip


@pytest.mark.slow
def test_a_training_ends_in_a_model_and_its_measures_and_a_second_call_changes_nothing(recipe: FaceMllmRecipe) -> None:
    assert train_face_mllm(recipe) == recipe.run.out / MODEL
    path = recipe.run.out / LEARNED_FILE
    model = AskModel.load(recipe.run.out / MODEL)
    assert model.info.trained and not model.card.outside and model.info.version == model.card.version
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["streamfx_face_mllm"])
        names = set(file.keys())
    assert about["tower"] == list(TOWER) and about["stages"] == ["words", "captions", "basic", "special"]
    assert all(name.startswith("projector.") or ".lora_" in name for name in names)
    told = json.loads((recipe.run.out / "measures-validation.json").read_text())
    assert told["options"] and all(0 <= one["said"][0] <= 1 for one in told["options"].values())
    assert told["captions"]["captions"] == 3 and 0 <= told["captions"]["told"] <= 1
    assert sum(one["answers"] for one in told["free_text"].values()) >= 3 and told["probe"]["sex"][0] > 0
    assert told["pictures"] <= 60 and told["split"] == "validation"
    files = (path, recipe.run.out / "measures-validation.json", recipe.run.out / MODEL / "weights.safetensors")
    before = [file.read_bytes() for file in files]
    train_face_mllm(recipe)
    assert [file.read_bytes() for file in files] == before


def test_what_is_seen_is_made_once_and_goes_on_where_it_was_killed(recipe: FaceMllmRecipe, tmp_path: Path) -> None:
    images = read_images(recipe.data.questions)[:50]
    tower = open_tower(TOWER, 4)
    seen = see(tower, images, recipe.data.sets, tmp_path)
    assert seen.shape == (50, 4, tower.sizes.width) and len(np.unique(seen[:, 0, 0])) > 25
    (folder,) = tmp_path.glob("seen-*")
    kept = np.array(seen)
    out = np.lib.format.open_memmap(folder / "tokens.npy", "r+")
    out[32:] = 0
    out[:1] = 7
    out.flush()
    (folder / "done").write_text("32")
    again = see(tower, images, recipe.data.sets, tmp_path)
    assert (again[:1] == 7).all(), "what was there is not made again"
    np.testing.assert_array_equal(again[1:], kept[1:])


def test_a_set_that_is_not_named_is_asked_for(recipe: FaceMllmRecipe, tmp_path: Path) -> None:
    images = read_images(recipe.data.questions)[:5].assign(source="another")
    with pytest.raises(ConfigError, match=r"data\.sets: .* not named: another"):
        see(open_tower(TOWER, 4), images, recipe.data.sets, tmp_path)


def test_an_encoder_that_is_none_is_named_with_what_is_expected() -> None:
    with pytest.raises(
        ModelError, match="expected an encoder file, a directory of a model, or dinov2-small, got 'nobody'"
    ):
        open_tower(["nobody"], 4)


def test_action_units_and_expression_encoders_stand_beside_each_other() -> None:
    both = open_tower([str(REPO / "weights" / "expression-small"), str(REPO / "weights" / "action-units")], 16)
    faces = torch.rand(2, 3, 112, 112)
    seen = both(faces)
    assert seen.shape == (2, 16, 256)
    alone = open_tower([str(REPO / "weights" / "action-units")], 16)(faces)
    torch.testing.assert_close(seen[:, :, 128:], alone)


def test_questions_without_a_stage_are_refused_by_its_name(recipe: FaceMllmRecipe, tmp_path: Path) -> None:
    import pandas as pd

    from streamfx.train.face_qa import table

    asked = table.read_questions(recipe.data.questions)
    for name in (table.IMAGES_FILE, table.CARD_FILE):
        (tmp_path / name).write_bytes((recipe.data.questions / name).read_bytes())
    kept: pd.DataFrame = asked[asked["stage"] != 1]
    columns = {name: kept[name].to_numpy() for name in table.QUESTION_COLUMNS}
    table.write_rows(tmp_path / table.QUESTIONS_FILE, columns, table.QUESTION_COLUMNS)
    data = recipe.data.model_copy(update={"questions": tmp_path})
    run = recipe.run.model_copy(update={"out": tmp_path / "out"})
    with pytest.raises(ConfigError, match="no questions of the stage words"):
        train_face_mllm(recipe.model_copy(update={"data": data, "run": run}))
