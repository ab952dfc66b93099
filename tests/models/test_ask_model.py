"""Questions about a face behind the contract: what a request says, what is answered, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.ask import OTHERS, TOKENS, ask_model

from streamfx.config.serving import Serving
from streamfx.errors import MissingComponent, ModelError
from streamfx.models.ask import ASKED, FACE, SCORES, AskModel, facts_of, frame_asked, words_file
from streamfx.models.card import CARD_FILE, usable_directory
from streamfx.models.prompt import Prompt, chosen
from streamfx.serving.client import open_model
from streamfx.serving.words import FileWords
from streamfx.testing import make_window

pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")

SMILE = ("Does she smile?", ("yes", "no"))
HAIR = ("Which hair?", ("short", "long", "none"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ask_model(tmp_path_factory.mktemp("ask") / "model")


@pytest.fixture(scope="module")
def model(directory: Path) -> AskModel:
    return AskModel.load(directory)


@pytest.fixture(scope="module")
def prompt(directory: Path, model: AskModel) -> Prompt:
    return Prompt(FileWords(words_file(model.info, directory), model.info.facts["vocabulary"]), TOKENS)


def faces(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def said(model: AskModel, pictures: npt.NDArray[np.uint8], asked: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    rows = np.repeat(asked[None], len(pictures), axis=0)
    return np.asarray(model.run({FACE: torch.from_numpy(pictures), ASKED: torch.from_numpy(rows)})[SCORES])


def test_scores_are_the_log_probabilities_less_what_is_said_of_the_other_pictures(
    model: AskModel, prompt: Prompt
) -> None:
    pictures = faces(2)
    tree, branches = prompt.asking([SMILE, HAIR])
    pack, net = tree.pack(), model.net
    with torch.no_grad():
        seen = net.tower(torch.from_numpy(pictures).float() / 255)
        looking = net.likelihoods(seen, pack, branches).double()
        blind = net.likelihoods(net.get_buffer("others"), pack, branches).double().exp().mean(dim=0).log()
    assert len(net.get_buffer("others")) == OTHERS
    np.testing.assert_allclose(
        said(model, pictures, prompt.request([SMILE, HAIR])), (looking - blind).numpy(), atol=1e-4
    )


def test_the_card_says_how_much_is_taken_off_of_what_is_said_without_looking(
    model: AskModel, prompt: Prompt, tmp_path: Path
) -> None:
    pictures, asked = faces(2), prompt.request([SMILE, HAIR])
    all_off = said(model, pictures, asked)
    none, half = (said(AskModel.load(ask_model(tmp_path / str(s), blind_share=s)), pictures, asked) for s in (0.0, 0.5))
    np.testing.assert_allclose(half, (all_off + none) / 2, atol=1e-4)
    assert np.abs(none - all_off).max() > 1e-2


def test_an_answer_is_the_same_whatever_else_is_asked_and_whoever_else_is_looked_at(
    model: AskModel, prompt: Prompt
) -> None:
    pictures = faces(3)
    together = said(model, pictures, prompt.request([SMILE, HAIR]))
    np.testing.assert_allclose(together[:1, 2:], said(model, pictures[:1], prompt.request([HAIR])), atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_items_of_one_batch_may_ask_different_questions_of_equal_length(model: AskModel, prompt: Prompt) -> None:
    pictures = faces(2)
    one, two = prompt.request([("Is it a?", ("yes", "no"))]), prompt.request([("Is it ab?", ("yesno",))])
    assert one.shape != two.shape or not np.array_equal(one, two)
    longer = prompt.request([("Is it a?", ("yess", "nott"))])
    other = prompt.request([("Is it a?", ("yessnott<|im_end|>",))])
    assert longer.shape == other.shape
    rows = torch.from_numpy(np.stack([longer, other]))
    scores = model.run({FACE: torch.from_numpy(pictures), ASKED: rows})[SCORES].numpy()
    np.testing.assert_allclose(scores[:1], said(model, pictures[:1], longer), atol=1e-4)
    np.testing.assert_allclose(scores[1:, :1], said(model, pictures[1:], other), atol=1e-4)
    assert scores[1, 1] == 0


def test_requests_of_different_lengths_may_wait_for_the_net_together(
    directory: Path, model: AskModel, prompt: Prompt
) -> None:
    client = open_model(AskModel, str(directory), Serving(batch_size=8))
    few, many = prompt.request([SMILE]), prompt.request([SMILE, HAIR])
    asked = [few, many, many, few, many]
    under_way = [client.submit({FACE: face, ASKED: one}) for face, one in zip(faces(5), asked, strict=True)]
    for face, one, answer in zip(faces(5), asked, under_way, strict=True):
        np.testing.assert_allclose(answer.result(60)[SCORES], said(model, face[None], one)[0], atol=1e-4)
    client.close()


def _changed(asked: npt.NDArray[np.int32], row: int, at: int, value: int) -> npt.NDArray[np.int32]:
    wrong = asked.copy()
    wrong[row, at] = value
    return wrong


def test_what_is_no_tree_of_questions_is_refused_before_the_net(model: AskModel, prompt: Prompt) -> None:
    good = prompt.request([SMILE])
    picture, answer = int(np.flatnonzero(good[0] == -1)[0]), int(np.flatnonzero(good[2] == 0)[0])
    broken = {
        "places for the picture": _changed(good, 0, picture, 7),
        "vocabulary": _changed(good, 0, 0, 10**6),
        "vocabulary of": _changed(good, 0, 0, -2),
        "an earlier token": _changed(good, 1, 3, 3),
        "each but the first": _changed(good, 1, 0, 0),
        "counted from 0": _changed(good, 2, answer, 9),
        "none of the picture": _changed(good, 2, picture, 0),
        "at most 4096 tokens": np.zeros((3, 5_000), np.int32),
    }
    for words, asked in broken.items():
        with pytest.raises(ModelError, match=words):
            said(model, faces(1), asked)


def test_probabilities_are_those_among_a_question_s_answers() -> None:
    [(smile, sure), (hair, share)] = chosen(np.array([0.0, np.log(3), 5.0, 5.0, 5.0 + np.log(2)]), [SMILE, HAIR])
    assert (smile, hair) == ("no", "none")
    assert sure == pytest.approx(3 / 4) and share == pytest.approx(1 / 2)


@pytest.mark.parametrize(("seen", "frame"), [(range(16), 8), ([2, 11, 12], 11), ([0], 0), ([], 8)])
def test_of_the_frames_with_the_face_the_one_nearest_to_the_middle_is_looked_at(
    seen: list[int], frame: int, model: AskModel
) -> None:
    present = np.zeros(16, bool)
    present[list(seen)] = True
    assert frame_asked(present) == frame
    window = make_window(1, side=32, present=present)
    np.testing.assert_array_equal(AskModel.inputs(window, model.info)[FACE], window.frames[frame].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["a"]}, "labels: expected none"),
        ({"facts": {"tokens": 9}}, "facts: expected tokens as in sizes"),
        ({"facts": facts_of(TOKENS, None, "0", 1.5)}, "facts.blind_share: expected 0.0 to 1.0"),
        ({"outside": {"projector": "smollm2-135m-instruct"}}, "outside: expected llm and"),
        ({"sound": {"rate_hz": 16000, "channels": "mix"}}, "sound: expected null"),
    ],
)
def test_a_card_whose_parts_do_not_go_together_is_refused(
    directory: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    (tmp_path / CARD_FILE).write_text(json.dumps(json.loads((directory / CARD_FILE).read_text()) | change))
    with pytest.raises(ModelError, match=words):
        AskModel.read_card(tmp_path)


def test_backbones_that_are_not_here_are_asked_for_by_the_command_that_fetches_them(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMFX_OUTSIDE_WEIGHTS", str(tmp_path / "empty"))
    card = json.loads((directory / CARD_FILE).read_text()) | {"outside": {"llm": "smollm2-135m-instruct"}}
    (tmp_path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(MissingComponent, match=r"needs weights that are not .* `streamfx models fetch --ask`"):
        usable_directory(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(directory: Path) -> None:
    with pytest.raises(ModelError, match="not those that the model was trained with"):
        FileWords(directory / "tokenizer.json", "0123456789ab")
