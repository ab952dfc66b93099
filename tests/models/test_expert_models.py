"""Models with weights of others: their cards are checked, and a machine without the weights takes another model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.expert import SMALL, expert_model, expert_net, require_face_api, take_face_api_away, windows

from streamfx.cli.main import main
from streamfx.errors import CheckpointMismatch, MissingComponent, ModelError
from streamfx.models.card import CARD_FILE, WEIGHTS_FILE, find_directory, read_weights, resolve_model, save_model
from streamfx.models.contract import SAME_LOGITS, ModelInfo
from streamfx.models.expression import ExpressionModel, logits
from streamfx.models.find import list_models, load_model, read_card
from streamfx.models.npm_files import NpmFiles
from streamfx.models.outside import FACE_API, load_face_api
from streamfx.nets.mma_dfer import LABELS_7


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return expert_model(tmp_path / "m", image_size=32)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder in which this machine looks for weights of others."""
    folder = tmp_path / "nothing-here"
    take_face_api_away(monkeypatch, folder)
    return folder


def edit(model: Path, **changes: object) -> Path:
    card = json.loads((model / CARD_FILE).read_text())
    (model / CARD_FILE).write_text(json.dumps(card | changes))
    return model


def command(*words: str) -> Result:
    return CliRunner().invoke(main, ["models", *words], catch_exceptions=False)


def test_the_card_says_whose_weights_it_needs_and_what_is_taken_instead(model: Path) -> None:
    card = read_card(model)
    assert card.outside == {"expert": "face-api"} and card.instead == "expression-small"
    assert ModelInfo.from_json(card.info.to_json()) == card.info
    assert [one.name for one in ExpressionModel.spec_of(card.info).outputs] == ["logits", "novelty"]


def test_models_without_an_expert_tell_no_novelty() -> None:
    for name in ("expression-small", "expression-tiny"):
        card = read_card(find_directory(name))
        assert (card.outside, card.instead) == ({}, None)
        assert [one.name for one in ExpressionModel.spec_of(card.info).outputs] == ["logits"]


def test_the_net_has_the_experts_weights_though_its_file_has_not(model: Path) -> None:
    require_face_api()
    assert not [name for name in read_weights(model / WEIGHTS_FILE) if name.startswith("expert.")]
    net = load_model(model).net
    for name, value in load_face_api().state_dict().items():
        assert torch.equal(net.expert.state_dict()[name], value), name


def test_it_answers_as_its_net_does(model: Path) -> None:
    require_face_api()
    net = expert_net()
    net.expert.load_state_dict(FACE_API.state())
    frames, fbank = windows(2)
    with torch.inference_mode():
        expected, novelty = net.answer(frames, fbank)
    answer = ExpressionModel.load(model).run({"frames": frames, "fbank": fbank})
    torch.testing.assert_close(answer["logits"], expected, atol=SAME_LOGITS, rtol=0)
    torch.testing.assert_close(answer["novelty"], novelty[:, None], atol=SAME_LOGITS, rtol=0)
    alone = logits(model, frames[:1].numpy(), fbank[:1].numpy())
    np.testing.assert_allclose(alone, expected[0], atol=SAME_LOGITS, rtol=0)


def test_an_untrained_model_from_a_seed_has_the_experts_weights_too(model: Path) -> None:
    require_face_api()
    edit(model, weights=None, seed=3, trained=False)
    first, again = (load_model(model).net.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(first["expert.fc.weight"], load_face_api().fc.weight)


def test_weights_of_others_for_a_part_that_is_not_there_are_named(model: Path) -> None:
    """A file that has the expert's place under another name is none of this architecture."""
    require_face_api()
    state = read_weights(model / WEIGHTS_FILE)
    card = read_card(model)
    save_model(model, {name: value for name, value in state.items() if not name.startswith("expert_proj")}, card)
    with pytest.raises(CheckpointMismatch, match=r"missing: expert_proj\.weight, expert_proj\.bias"):
        load_model(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outside": {"expert": "nobody"}}, "outside: no weights of others are called 'nobody'; known are: face-api"),
        ({"outside": {"expert": ["face-api"]}}, r"outside: no weights of others are called \['face-api'\]"),
        ({"outside": {"judge": "face-api"}}, "outside: expected .*'expert': 'face-api'.* or nothing"),
        ({"outside": ["face-api"]}, r"outside: expected a JSON object, got \['face-api'\]"),
        ({"outside": "face-api"}, "outside: expected a JSON object, got 'face-api'"),
        ({"outside": None}, "outside: expected a JSON object, got None"),
        ({"outside": {}}, "facts: expected 'novelty' true with an expert, and only then"),
        ({"facts": {}}, "facts: expected 'novelty' true with an expert, and only then"),
        ({"instead": 5}, "instead: expected the name of a model, or null, got 5"),
        ({"sizes": SMALL | {"image_size": 32, "modalities": ["sound"]}}, "the expert knows the face of 7 expressions"),
        (
            {"sizes": SMALL | {"image_size": 32, "classes": 8}, "labels": [*LABELS_7, "contempt"]},
            "the expert knows the face of 7 expressions",
        ),
    ],
)
def test_a_wrong_card_is_named_whether_the_weights_are_here_or_not(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    edit(model, **changes)
    for _ in range(2):
        with pytest.raises(ModelError, match=rf"{CARD_FILE}: {message}"):
            ExpressionModel.load(model)
        take_face_api_away(monkeypatch, tmp_path / "nothing-here")


def test_a_machine_without_the_weights_takes_the_other_model_and_says_so_once(
    model: Path, bare: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [resolve_model(model) for _ in range(3)] == [find_directory("expression-small")] * 3
    (said,) = [record.getMessage() for record in caplog.records]
    for part in (
        "with-expert needs weights",
        str(bare),
        "`streamfx models fetch`",
        "expression-small is taken instead",
    ):
        assert part in said
    assert find_directory(model) == model.resolve(), "looking for a directory asks for no weights"


def test_a_machine_with_the_weights_takes_the_model_itself(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    require_face_api()
    assert resolve_model(model) == model.resolve() and not caplog.records


def test_a_chain_of_models_is_followed_to_one_that_can_be_loaded(model: Path, tmp_path: Path, bare: Path) -> None:
    longer = expert_model(tmp_path / "longer", instead=str(model), image_size=32)
    assert resolve_model(longer) == find_directory("expression-small")


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        (None, r"with-expert needs weights that are not on this machine: .*`streamfx models fetch`$"),
        ("nobody", r"`streamfx models fetch`; nobody cannot be taken instead: no model 'nobody'"),
        ("{itself}", r"cannot be taken instead: it lacks them too"),
    ],
)
def test_without_another_model_the_error_says_what_to_fetch(
    model: Path, bare: Path, instead: str | None, message: str
) -> None:
    edit(model, instead=instead and instead.format(itself=model))
    with pytest.raises(MissingComponent, match=message):
        resolve_model(model)


def test_loading_a_model_without_its_weights_says_what_to_fetch(model: Path, bare: Path) -> None:
    with pytest.raises(MissingComponent, match=rf"{bare}.*`streamfx models fetch`"):
        ExpressionModel.load(model)


def test_models_are_listed_and_described_without_the_weights(
    model: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("list").exit_code == 0 and list_models()
    shown = command("card", str(model))
    assert shown.exit_code == 0
    for fact in ("with-expert", "novelty", "happiness", str(model)):
        assert fact in shown.output


def test_a_shelf_with_such_a_model_is_listed_without_the_weights(
    model: Path, tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shelf").mkdir()
    model.rename(tmp_path / "shelf" / "with-expert")
    monkeypatch.setattr("streamfx.models.card.shipped", lambda name: tmp_path / "shelf")
    assert "with-expert" in command("list").output


def test_fetch_says_what_it_fetched_or_that_it_was_there(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = iter([True, False, False, True])
    monkeypatch.setattr(NpmFiles, "fetch", lambda self: next(fetched))
    first, second = (command("fetch").output.splitlines() for _ in range(2))
    weights, plots = f"{bare}/face-api-1.7.15", f"{bare}/uplot-1.6.32"
    assert first == [
        f"face-api 1.7.15 (MIT): fetched into {weights}",
        f"uplot 1.6.32 (MIT): already in {plots}",
    ]
    assert second == [
        f"face-api 1.7.15 (MIT): already in {weights}",
        f"uplot 1.6.32 (MIT): fetched into {plots}",
    ]


def test_fetch_without_a_network_ends_with_a_remedy(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    failed = command("fetch")
    assert failed.exit_code == 1
    assert "cannot be fetched from http://127.0.0.1:9/" in failed.output and "npm_config_registry" in failed.output


def test_fetch_finds_the_weights_of_this_machine() -> None:
    require_face_api()
    done = command("fetch")
    assert done.exit_code == 0 and f"already in {FACE_API.folder}" in done.output
