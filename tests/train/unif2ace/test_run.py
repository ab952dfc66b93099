"""From drawn sets to a drawn face: the tokenizer, the transformer on its codes, and the command that draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.drawn_sets import write_drawn_set
from helpers.expert import require_face_api
from helpers.modules import module
from PIL import Image

from streamfx.cli.main import main
from streamfx.errors import ConfigError, ModelError
from streamfx.models.unif2ace import UniF2aceModel
from streamfx.train.face_qa.build import Sources, make_questions
from streamfx.train.unif2ace.recipe import FaceTokensRecipe, UniF2aceRecipe
from streamfx.train.unif2ace.run import train_unif2ace
from streamfx.train.unif2ace.tokens import load_face_tokens, train_face_tokens

WEIGHTS = Path(__file__).parents[3] / "weights"
ENCODER = str(WEIGHTS / "expression-small")
ORIGIN = {"licence": "none", "source": "a test"}
STEPS = {"epochs": 1, "batch_size": 16, "blr": 0.02, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_face_api()
    root = tmp_path_factory.mktemp("unif2ace")
    drawn = write_drawn_set(root / "drawn", seed=1, people=20, own_pictures=True)
    others = write_drawn_set(root / "others", seed=2, people=14, own_pictures=True)
    make_questions(Sources([drawn], validation=[others]), root / "questions", seed=5)
    return root


@pytest.fixture(scope="module")
def tokens(root: Path) -> FaceTokensRecipe:
    return FaceTokensRecipe.model_validate({
        "data": {"train": [root / "drawn"], "held_out": [root / "others"], "cache": root / "cache"},
        "image_size": 32, "grid": 4, "codes": 16, "width": 8, "features": [ENCODER],
        "tokens": {**STEPS, "pictures": 48}, "origin": ORIGIN,
        "run": {"out": root / "tokens", "threads": 1, "precision": "bf16"},
    })  # fmt: skip


@pytest.fixture(scope="module")
def both(root: Path, tokens: FaceTokensRecipe) -> UniF2aceRecipe:
    return UniF2aceRecipe.model_validate({
        "data": {"questions": root / "questions", "sets": [root / "drawn", root / "others"], "cache": root / "cache"},
        "tokenizer": train_face_tokens(tokens, at_the_end=32), "face": [ENCODER], "semantic": [ENCODER], "seen_tokens": 4,
        "net": {"dim": 32, "depth": 2, "heads": 2, "places": 80}, "both": {**STEPS, "pictures": 48},
        "measured": {"drawings": 40, "asked": 24},
        "origin": ORIGIN, "run": {"out": root / "both", "threads": 1, "precision": "bf16"},
    })  # fmt: skip


@pytest.fixture(scope="module")
def trained(both: UniF2aceRecipe) -> Path:
    return train_unif2ace(both)


pytestmark = pytest.mark.slow


def test_a_tokenizer_is_measured_and_a_second_call_changes_nothing(tokens: FaceTokensRecipe) -> None:
    path = train_face_tokens(tokens, at_the_end=32)
    told = json.loads((tokens.run.out / "measures.json").read_text())
    assert told["pictures"] == 32 and 0 <= told["held_out_expression"] <= 1 and told["held_out_codes"] <= 16
    assert told["blurred_psnr_db"] > told["held_out_psnr_db"]
    assert Image.open(tokens.run.out / "contact-sheet.png").size == (8 * 32, 8 * 32)
    before = path.read_bytes()
    assert train_face_tokens(tokens, at_the_end=32).read_bytes() == before
    faces = torch.rand(2, 3, 32, 32)
    net = load_face_tokens(path)
    assert net.encode(faces).shape == (2, 16)


def test_a_transformer_learns_and_draws_by_a_description(both: UniF2aceRecipe, trained: Path, tmp_path: Path) -> None:
    assert Image.open(both.run.out / "contact-sheet.png").size == (8 * 32, 8 * 32)
    header, row = (both.run.out / "both-epochs.csv").read_text().splitlines()
    told = dict(zip(header.split(","), map(float, row.split(",")), strict=True))
    assert told["held_out_mask"] > 0 and told["held_out_answer"] > 0 and told["balance"] > 0
    model = UniF2aceModel.load(trained)
    assert torch.equal(model.draw(["a woman"], 1), model.draw(["a woman"], 1))
    assert not torch.equal(model.draw(["a woman"], 1), model.draw(["a woman"], 2))
    out = tmp_path / "face.png"
    said = CliRunner().invoke(main, ["generate", "a woman zebra", "--model", str(trained), "--out", str(out)])
    assert said.exit_code == 0, said.output
    assert "not known, and left out: zebra" in said.output and np.asarray(Image.open(out)).shape == (32, 32, 3)


def test_what_it_can_do_is_measured_on_others_as_it_was_stored(both: UniF2aceRecipe, trained: Path) -> None:
    assert trained == both.run.out / "model"
    told = json.loads((both.run.out / "measures.json").read_text())
    assert {name.rsplit("-", 1)[0] for name in told["loads"]} == {"block-1-tokens", "block-1-sequences"}
    assert all(sum(one) == pytest.approx(1, abs=1e-3) for one in told["loads"].values())
    drawing, reading = told["drawing"], told["reading"]
    assert drawing["split"] == "validation" and drawing["drawings"] == 40
    [far] = drawing["frechet"].values()
    # A net of 3 steps draws nothing like the pictures, and its tokenizer copies little of them.
    assert 0 < far["real"]["mean"] < far["copies"]["mean"] and far["real"]["mean"] < far["drawn"]["mean"]
    assert drawing["drawn"]["nearest"]["most"] <= 1 and drawing["drawn"]["asked"]["expression_outside"]["faces"] > 0
    assert Image.open(both.run.out / "drawn.png").size == (8 * 32, 5 * 32)
    assert set(reading["options"]) <= {"expression/expression/words", "expression/expression/letters", "sex/sex/words"}


def test_a_trained_model_is_measured_by_the_benchmark_and_what_is_measured_is_kept(
    root: Path, both: UniF2aceRecipe, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = module("unif2ace")
    sets = [part for folder in both.data.sets for part in ("--set", str(folder))]
    words = ["--model", str(trained), "--questions", str(both.data.questions), *sets, "--cache", str(both.data.cache)]
    words += ["--out", str(root / "bench"), "--pictures", "24", "--only", "tokenizer", "--only", "drawing"]
    monkeypatch.setattr("sys.argv", ["unif2ace.py", *words])
    benchmark.main()
    first = capsys.readouterr().out
    assert "| tokenizer | r_units | 0.9 |" in first and "| drawing | found | 0.9 |" in first
    told = json.loads((root / "bench" / "unif2ace.json").read_text())
    assert told["tokenizer"]["people"] > 5 and len(told["tokenizer"]["expression"]) == 3
    monkeypatch.setattr(benchmark, "known_to", None)
    benchmark.main()
    assert capsys.readouterr().out == first


def test_a_size_that_the_data_decide_is_refused(both: UniF2aceRecipe) -> None:
    with pytest.raises(ConfigError, match="net: words follow from the data"):
        train_unif2ace(both.model_copy(update={"net": {"words": 5}}))


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    shutil.copy(WEIGHTS / "expression-small" / "weights.safetensors", file)
    with pytest.raises(ModelError, match="expected a tokenizer by `streamfx train face-tokens`"):
        load_face_tokens(file)
