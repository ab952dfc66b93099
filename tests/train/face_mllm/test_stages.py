"""A stage learns from answers alone, changes only what it names, and what it learned is measured against a blind model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from helpers.language_models import write_language_model

from streamfx.errors import ConfigError
from streamfx.models.prompt import Prompt
from streamfx.nets.face_mllm import FaceMllm, FaceMllmSizes
from streamfx.nets.vit import EncoderSizes
from streamfx.train.face_mllm.measure import answered, measure, summary
from streamfx.train.face_mllm.phases import Learned, QuestionBatches, StagePhase
from streamfx.train.face_mllm.recipe import StageSteps
from streamfx.train.face_mllm.words import WordBatches, WordsPhase
from streamfx.train.language import LanguageModel, load_language_model
from streamfx.train.loop import train
from streamfx.train.recipe import Run, Steps

pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")

PEOPLE, EACH = 24, 2
SECTION = StageSteps(epochs=40, batch_size=6, blr=0.8, weight_decay=0.0, adapter_share=1.0)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_language_model(write_language_model(tmp_path_factory.mktemp("llm") / "model"))


def new_net(language: LanguageModel, seed: int = 1) -> FaceMllm:
    torch.manual_seed(seed)
    net = FaceMllm(FaceMllmSizes((EncoderSizes(16, 8, 8, 1, 2),), 4, language.sizes, 4))
    net.llm.load_state_dict(language.state, strict=False)
    net.match_words()
    return net


def seen_and_asked() -> tuple[npt.NDArray[np.float16], pd.DataFrame]:
    """Pictures of which one number tells whether somebody smiles, and another which letter is theirs."""
    rng = np.random.default_rng(4)
    seen, rows = rng.normal(size=(PEOPLE * EACH, 4, 8)).astype(np.float16) * 0.3, []
    for image in range(PEOPLE * EACH):
        smiles, letter = image % 2 == 0, "ABC"[image % 3]
        seen[image, :, 0], seen[image, :, 1 + image % 3] = (2 if smiles else -2), 2
        told = {"image": image, "person": f"p{image // EACH}", "held_out": "person"}
        yes = {"stage": 2, "task": "attributes", "name": "smile", "question": "Smiles?", "options": '["yes", "no"]'}
        rows.append(told | yes | {"answer": "yes" if smiles else "no", "value": "yes" if smiles else "no"})
        which = {"stage": 3, "task": "expression", "name": "letter", "question": "Which?", "options": '["C", "A", "B"]'}
        rows.append(told | which | {"answer": letter, "value": letter})
        rows.append(
            told
            | {
                "stage": 1,
                "task": "caption",
                "name": "",
                "question": "Say.",
                "options": "[]",
                "answer": "so",
                "value": "",
            }
        )
    return seen, pd.DataFrame(rows)


def phase(net: FaceMllm, language: LanguageModel, section: StageSteps, name: str = "special") -> StagePhase:
    seen, asked = seen_and_asked()
    asked = asked[asked["options"] != "[]"].reset_index(drop=True)
    return StagePhase(
        name, Learned(net), QuestionBatches(asked, seen, Prompt(language, 4), section, 1, name), section, 0
    )


def test_it_learns_what_the_pictures_show_and_the_blind_model_does_not(language: LanguageModel, tmp_path: Path) -> None:
    net = new_net(language)
    train(phase(net, language, SECTION), Run(out=tmp_path, threads=1))
    seen, asked = seen_and_asked()
    others = torch.from_numpy(seen[:12].astype(np.float32))
    answers = answered(measure(net.eval(), Prompt(language, 4), asked, seen, others), 1.0)
    assert len(answers) == 2 * PEOPLE * EACH, "captions have no options"
    told = summary(answers)
    for key, chance in (("attributes/smile/yes_no", 1 / 2), ("expression/letter/letters", 1 / 3)):
        value, low, high = told[key]["said"]
        assert low <= value <= high and value >= 0.9
        assert told[key]["blind"] <= chance + 0.1
        assert told[key]["people"] == PEOPLE
    assert told["attributes/smile/yes_no"]["share_of_yes"] == pytest.approx(0.5, abs=0.1)
    assert "share_of_yes" not in told["expression/letter/letters"]


def test_before_the_language_model_reads_a_picture_points_at_the_words_of_its_caption(
    language: LanguageModel, tmp_path: Path
) -> None:
    net, prompt = new_net(language), Prompt(language, 4)
    adapters = {name: value.clone() for name, value in net.state_dict().items() if not name.startswith("projector.")}
    seen, asked = seen_and_asked()
    smiles = asked.loc[asked["name"] == "smile", ["image", "value"]]
    captions = smiles.assign(answer=[f"So {value}" for value in smiles["value"]])
    section = Steps(epochs=40, batch_size=12, blr=0.2)
    batches = WordBatches(captions, seen, prompt, section, 1, "words")
    told = WordsPhase("words", Learned(net), batches, section, 0)
    train(told, Run(out=tmp_path, threads=1))
    of = {word: {*prompt.words.encode(f" {word}")} for word in ("yes", "no", "So")}
    assert set(batches.words) == (of["yes"] | of["no"]) - of["So"], "`So` is in all"
    says = told.says(torch.from_numpy(seen.astype(np.float32)))
    yes, no = ([one in of[word] for one in batches.words] for word in ("yes", "no"))
    right = (says[:, yes].sum(dim=1) > says[:, no].sum(dim=1)).numpy() == (smiles["value"] == "yes").to_numpy()
    assert right.mean() > 0.9
    assert all(torch.equal(net.state_dict()[name], value) for name, value in adapters.items()), (
        "only the projector learns"
    )


def test_captions_that_share_no_words_cannot_be_learned_from(language: LanguageModel) -> None:
    seen, asked = seen_and_asked()
    captions = asked[asked["task"] == "caption"]
    with pytest.raises(ConfigError, match="no word is in some captions and not in others"):
        WordBatches(captions, seen, Prompt(language, 4), Steps(epochs=1, batch_size=4, blr=0.1), 1, "words")


@pytest.mark.parametrize(("learns", "still"), [(("projector",), ".lora_"), (("adapters",), "projector.")])
def test_a_stage_changes_only_the_parts_that_it_names(
    language: LanguageModel, tmp_path: Path, learns: tuple[str, ...], still: str
) -> None:
    net = new_net(language)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    section = SECTION.model_copy(update={"learns": learns, "epochs": 1})
    train(phase(net, language, section), Run(out=tmp_path, threads=1))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and changed <= set(net.learned())
    assert not any(still in name for name in changed)


@pytest.mark.parametrize("earlier", [0.75, 0.25])
def test_questions_of_an_earlier_stage_have_their_share(language: LanguageModel, earlier: float) -> None:
    seen, asked = seen_and_asked()
    asked = asked[asked["stage"] > 1].reset_index(drop=True)
    section = SECTION.model_copy(update={"questions": 1, "batch_size": 24})
    batches = QuestionBatches(asked, seen, Prompt(language, 4), section, 1, "special", earlier)
    said = []
    for number in range(40):
        made = batches.make(number, 0, torch.Generator().manual_seed(number))
        for row in range(section.batch_size):
            answer = made["ids"][row][made["answer"][row] >= 0].tolist()
            said.append(language.tokenizer.decode(answer, skip_special_tokens=True).strip())
    assert np.mean([one in ("yes", "no") for one in said]) == pytest.approx(earlier, abs=0.06)


def test_the_loss_is_taken_of_the_answers_and_their_ends_alone(language: LanguageModel) -> None:
    made = phase(new_net(language), language, SECTION).batches[0]
    said = []
    for row in range(SECTION.batch_size):
        for number in made["answer"][row].unique().tolist():
            if number >= 0:
                here = made["answer"][row] == number
                assert bool((made["wanted"][row] == (made["answer"][row] >= 0)).all())
                said.append(language.tokenizer.decode(made["ids"][row][here].tolist(), skip_special_tokens=False))
    assert len(said) == 2 * SECTION.batch_size
    assert set(said) <= {f"{word}<|im_end|>" for word in ("yes", "no", "A", "B", "C")}


def test_a_picture_is_asked_no_more_questions_at_once_than_the_recipe_says(language: LanguageModel) -> None:
    one = phase(new_net(language), language, SECTION.model_copy(update={"questions": 1})).batches[0]
    assert int(one["answer"].max()) + 1 == SECTION.batch_size


def test_no_more_pictures_are_learned_from_than_the_recipe_says(language: LanguageModel) -> None:
    few = phase(new_net(language), language, SECTION.model_copy(update={"pictures": 12})).batches
    assert few.steps == 12 // SECTION.batch_size
    shown = torch.cat([few[number]["seen"][:, 0] for number in range(2 * few.steps)])
    assert len(shown.unique(dim=0)) == 12, "the same in every epoch"


def test_the_same_seed_gives_the_same_batches_and_each_picture_comes_once_an_epoch(language: LanguageModel) -> None:
    first, again = (phase(new_net(language), language, SECTION).batches for _ in range(2))
    steps = PEOPLE * EACH // SECTION.batch_size
    assert first.steps == steps
    for number in (0, steps - 1, steps):
        assert all(torch.equal(value, again[number][name]) for name, value in first[number].items())
    shown = torch.cat([first[number]["seen"][:, 0] for number in range(steps)])
    assert len(shown.unique(dim=0)) == PEOPLE * EACH


def test_kinds_of_few_questions_are_not_told() -> None:
    few = pd.DataFrame(
        {"task": ["sex"] * 19, "name": "sex", "held_out": "person", "person": "p", "value": "a", "answer": "yes"}
        | {"options": '["yes", "no"]'}
        | {name: ["yes"] * 19 for name in ("said", "raw", "blind")}
    )
    assert summary(few) == {}
