"""A UniF2ace as a model directory: what is stored is nearly what was learned, and questions are answered by looking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.unif2ace import QUESTION, SEEN, unif2ace_model

from streamfx.cli.main import main
from streamfx.errors import ModelError
from streamfx.models.card import CARD_FILE
from streamfx.models.unif2ace import WORDS_FILE, UniF2aceModel, packed, unpacked


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unif2ace_model(tmp_path_factory.mktemp("unif2ace") / "model")


def test_matrices_lose_less_than_a_hundredth_of_their_largest_number_and_take_a_byte_each() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Linear(4, 4))
    torch.nn.init.normal_(net[0].weight[3], std=100.0)
    stored = packed(net)
    assert stored["0.weight"].dtype == torch.int8 and stored["1.weight"].dtype == torch.float16
    again = unpacked(stored)
    assert set(again) == set(net.state_dict())
    for name, value in net.state_dict().items():
        rows, found = value.flatten(1) if value.ndim > 1 else value[:, None], again[name].reshape(len(value), -1)
        assert ((rows - found).abs().amax(dim=1) <= 0.005 * rows.abs().amax(dim=1) + 1e-4).all()


def test_an_answer_is_scored_by_its_own_words_and_by_what_is_seen(directory: Path) -> None:
    model = UniF2aceModel.load(directory)
    codes, seen = torch.zeros(2, 4, dtype=torch.long), torch.stack((SEEN[0], SEEN[1]))
    asked = [(QUESTION, ("dark", "light")), (QUESTION, ("light", "dark", "dark light"))]
    first, second = model.likelihoods(codes, seen, asked)
    assert first.shape == (2, 2) and second.shape == (2, 3) and bool((first < 0).all())
    torch.testing.assert_close(first, second[:, [1, 0]])
    alone = model.likelihoods(codes[1:], seen[1:], asked)[0]
    torch.testing.assert_close(first[1:], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first[0], first[1])


def test_an_answer_gains_nothing_that_it_would_have_whoever_is_looked_at(directory: Path) -> None:
    model = UniF2aceModel.load(directory)
    asked = [(QUESTION, ("dark", "light"))]
    [others] = model.likelihoods(*model.others, asked)
    [scores] = model.scores(*model.others, asked)
    # exp of the scores is each picture's probability in units of the mean, whose mean is 1.
    torch.testing.assert_close(scores.exp().mean(dim=0), torch.ones(2, dtype=torch.double))
    assert torch.equal(scores[:, 0].argsort(), others[:, 0].argsort())


def test_equal_seeds_draw_equal_faces_and_many_are_drawn_as_one_is(directory: Path) -> None:
    model = UniF2aceModel.load(directory)
    faces = model.draw(["dark"] * 3, 1)
    assert faces.shape == (3, 3, 8, 8) and faces.min() >= 0 and faces.max() <= 1
    assert torch.equal(faces, model.draw(["dark"] * 3, 1)) and not torch.equal(faces, model.draw(["dark"] * 3, 2))


def test_a_question_that_is_too_long_is_refused(directory: Path) -> None:
    model = UniF2aceModel.load(directory)
    assert model.fits("dark " * 8, ("dark",)) and not model.fits("dark " * 9, ("dark",))
    with pytest.raises(ModelError, match="at most 9 words and signs together"):
        model.likelihoods(*model.others, [("dark " * 9, ("dark", "light"))])


def test_the_models_commands_know_it(directory: Path) -> None:
    told = CliRunner().invoke(main, ["models", "card", str(directory)])
    assert told.exit_code == 0, told.output
    assert "unif2ace-for-tests" in told.output and "parameters" in told.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "ask"}, "architecture: expected 'unif2ace'"),
        ({"facts": {}}, "expected weights, and the facts vocabulary"),
        ({"labels": 3}, "expected a JSON object"),
    ],
)
def test_a_card_that_is_wrong_is_named(directory: Path, tmp_path: Path, change: dict[str, object], says: str) -> None:
    card = json.loads((directory / CARD_FILE).read_text()) | change
    (tmp_path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(ModelError, match=says):
        UniF2aceModel.load(tmp_path)


def test_other_words_than_those_learned_are_refused(tmp_path: Path) -> None:
    directory = unif2ace_model(tmp_path / "model")
    words = json.loads((directory / WORDS_FILE).read_text())
    (directory / WORDS_FILE).write_text(json.dumps([*words[:-2], words[-1], words[-2]]))
    with pytest.raises(ModelError, match="expected the words that the model learned, got others"):
        UniF2aceModel.load(directory)
    (directory / WORDS_FILE).unlink()
    with pytest.raises(ModelError, match="expected the words of the model"):
        UniF2aceModel.load(directory)
