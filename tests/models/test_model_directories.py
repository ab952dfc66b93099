"""Model directories: found, described, loaded; wrong ones named."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.base import pick_device
from streamfx.models.card import CARD_FILE, WEIGHTS_FILE, resolve_model, save_model
from streamfx.models.contract import SAME_LOGITS
from streamfx.models.expression import ExpressionModel, logits
from streamfx.models.find import list_models, load_model, read_card
from streamfx.testing import window_tensors


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory with weights: the shipped tiny net's, saved."""
    tiny = ExpressionModel.load(resolve_model("expression-tiny"))
    card = replace(tiny.card, version="1", trained=True, weights=WEIGHTS_FILE, seed=None)
    save_model(tmp_path / "m", tiny.net.state_dict(), card)
    return tmp_path / "m"


def edit(model: Path, **changes: object) -> None:
    card = json.loads((model / CARD_FILE).read_text())
    (model / CARD_FILE).write_text(json.dumps(card | changes))


def test_weights_can_be_read_by_whoever_may_read_new_files(tmp_path: Path, model: Path) -> None:
    """A server runs as another user than the training."""
    (tmp_path / "new").touch()
    assert (model / WEIGHTS_FILE).stat().st_mode == (tmp_path / "new").stat().st_mode


def batched(seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    tensors = window_tensors(seed)
    return tensors["frames"][None], tensors["fbank"][None]


def test_the_shipped_models_are_sound() -> None:
    assert [card.name for card in list_models()] == sorted(
        path.parent.name for path in resolve_model("expression-tiny").parent.glob("*/model.json")
    )
    for card in list_models():
        assert len(card.labels) == getattr(card.sizes, "classes", len(set(card.labels)))
        assert card.trained or "untrained" in card.version


def test_an_untrained_model_says_so_when_loaded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        card = load_model(resolve_model("expression-tiny")).card
    assert card.trained or "untrained" in caplog.text


def test_saved_weights_answer_as_before(model: Path) -> None:
    before = logits(resolve_model("expression-tiny"), *batched(3))
    np.testing.assert_allclose(logits(model, *batched(3)), before, atol=SAME_LOGITS, rtol=0)


def test_weights_stored_in_half_the_bits_are_computed_with_in_float32(model: Path) -> None:
    loaded = load_model(model)
    state = loaded.net.state_dict()
    save_model(model, {name: value.half() for name, value in state.items()}, loaded.card)
    again = load_model(model).net.state_dict()
    for name, value in state.items():
        assert torch.equal(again[name], value.half().float())


def test_a_card_from_before_a_part_could_be_switched_off_is_the_full_net(model: Path) -> None:
    raw = json.loads((model / "model.json").read_text())
    for name in ("bottleneck", "temporal", "modalities"):
        del raw["sizes"][name]
    (model / "model.json").write_text(json.dumps(raw))
    sizes = load_model(model).card.sizes
    assert (sizes.bottleneck, sizes.temporal, sizes.modalities) == (True, True, ("face", "sound"))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["sadness", "happiness", "neutral", "anger", "surprise", "disgust", "fear"]},
        {"facts": {"threshold": 0.5}},
    ],
)
def test_labels_and_facts_that_are_edited_change_the_version_in_the_rows(
    model: Path, changes: dict[str, object]
) -> None:
    assert read_card(model).info.version == "1"
    edit(model, **changes)
    edited = read_card(model).info.version
    assert edited.startswith("1-") and edited != "1"
    edit(model, seal=None)
    assert read_card(model).info.version == edited, "a card without a seal says as much as one with another's"


def test_editing_back_and_other_words_for_people_change_no_version(model: Path) -> None:
    raw = (model / CARD_FILE).read_text()
    edit(model, facts={"threshold": 0.5})
    (model / CARD_FILE).write_text(raw)
    edit(model, licence="MIT", source="elsewhere")
    assert read_card(model).info.version == "1"


def test_the_models_that_ship_are_sealed() -> None:
    versions = {card.name: card.info.version for card in list_models() if card.architecture == "mma_dfer"}
    assert versions == {
        "expression-faces": "sha256-e118a2e6ca47-mix-16000",
        "expression-small": "sha256-190799c487c0-mix-16000",
        "expression-tiny": "untrained-0",
    }


def test_a_loaded_net_cannot_be_trained_by_accident(model: Path) -> None:
    net = load_model(model).net
    assert not net.training
    assert not any(value.requires_grad for value in net.parameters())


def test_an_unknown_model_names_the_known() -> None:
    with pytest.raises(ModelError, match=r"'nobody'.*expression-tiny"):
        resolve_model("nobody")
    with pytest.raises(ModelError, match=r"'nobody'.*action-units$"):
        resolve_model("nobody", architecture="fmae")


def test_a_name_cannot_leave_the_shipped_folder() -> None:
    with pytest.raises(ModelError, match="no model"):
        resolve_model("../weights/expression-tiny/nothing")


@pytest.mark.parametrize("text", ["[]", "7", "{", "null"])
def test_a_card_that_is_no_object_is_named(model: Path, text: str) -> None:
    (model / CARD_FILE).write_text(text)
    with pytest.raises(ModelError, match="expected a JSON object"):
        read_card(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "other"}, "architecture: expected .*'mma_dfer'.*, got 'other'"),
        ({"labels": ["a"]}, "labels: expected 7 different names"),
        ({"labels": ["a"] * 7}, "labels: expected 7 different names"),
        ({"sizes": {"dim": 7}}, "expected a JSON object"),
        ({"sizes": {"breadth": 7}}, "expected a JSON object"),
        ({"sizes": {"dim": 768.0}}, "expected a JSON object .* must be a whole number"),
        ({"version": 1}, "version: expected text, got 1"),
        ({"labels": [1, 2, 3, 4, 5, 6, 7]}, "labels: expected text, got 1"),
        ({"trained": "no"}, "trained: expected true or false, got 'no'"),
        ({"weights": None, "seed": "x"}, "seed: expected a whole number, or null, got 'x'"),
        ({"extra": 1}, "expected a JSON object"),
        ({"facts": [1]}, "facts: expected a JSON object"),
        ({"seed": 1}, "either weights .* or seed"),
        ({"weights": "../other.safetensors"}, "expected a file beside it"),
    ],
)
def test_a_wrong_card_is_named(model: Path, changes: dict[str, object], message: str) -> None:
    edit(model, **changes)
    with pytest.raises(ModelError, match=message):
        read_card(model)


def test_weights_of_other_sizes_are_named(model: Path) -> None:
    sizes = json.loads((model / CARD_FILE).read_text())["sizes"]
    edit(model, sizes=sizes | {"temporal_dim": 64})
    with pytest.raises(CheckpointMismatch, match=r"vision_proj\.bias \(expected \[64\], got \[128\]\)"):
        load_model(model)


def test_torn_weights_are_an_error(model: Path) -> None:
    (model / WEIGHTS_FILE).write_bytes((model / WEIGHTS_FILE).read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot read the weights"):
        load_model(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames, fbank: (frames[0], fbank), r"'frames': expected one window"),
        (lambda frames, fbank: (frames, fbank.astype(np.float64)), r"'fbank': expected float32"),
        (
            lambda frames, fbank: (frames[..., :96, :96], fbank),
            r"expected uint8 \[16, 3, 112, 112\], got uint8 \[16, 3, 96, 96\]",
        ),
        (lambda frames, fbank: (np.uint8(3), fbank), r"'frames': expected one window"),
    ],
)
def test_wrong_inputs_are_named(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=message):
        logits(resolve_model("expression-tiny"), *change(*batched(0)))


def test_a_missing_gpu_is_said_before_loading() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert pick_device("auto") == "cpu"
    with pytest.raises(ModelError, match="found none"):
        pick_device("cuda")
