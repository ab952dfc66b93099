"""Cards of attributes' weights: what `model.json` must say, and that every key of the weights is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.attributes import METHODS, AttributesModel, AttributesSizes, card_of
from streamfx.models.card import WEIGHTS_FILE, resolve_model, save_model
from streamfx.models.celeba import CELEBA
from streamfx.nets.lnet import LNetSizes
from streamfx.nets.lnet_anet import ANetSizes
from streamfx.train.export import export_onnx


def card(tmp_path: Path, method: str, **changes: Any) -> Path:
    raw = json.loads((resolve_model(METHODS[method]) / "model.json").read_text())  # type: ignore[index]
    raw |= {"weights": None, "seed": 0, "trained": False} | changes
    (tmp_path / "model.json").write_text(json.dumps(raw))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["Young", "Smiling"]}, "labels: expected names of CelebA's attributes in its order"),
        ({"labels": ["Smile"]}, "labels: expected names"),
        ({"facts": {}}, "facts: expected the method 'lnet_anet'"),
        ({"sound": {"rate_hz": 16000, "channels": "mix"}}, "sound: expected null"),
        ({"sizes": {"method": "eyes"}}, "method: expected lnet_anet or shared_encoder"),
        ({"sizes": {"method": "lnet_anet"}}, "expected anet, lnet"),
        ({"sizes": {"method": "lnet_anet", "lnet": {}, "anet": {"patch": 58}}}, "patch: expected"),
        ({"sizes": {"method": "lnet_anet", "lnet": {}, "anet": {}, "image_size": 40}}, "image_size: expected"),
    ],
)
def test_a_wrong_card_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        AttributesModel.read_card(card(tmp_path, "lnet_anet", **changes))


@pytest.mark.parametrize("method", METHODS)
def test_saved_weights_answer_as_before_and_each_key_is_accounted_for(tmp_path: Path, method: str) -> None:
    model = AttributesModel.load(card(tmp_path, method))
    sizes = model.card.sizes
    made = card_of("mine", "sha256-1", sizes, model.info.labels, "CC0-1.0", "test", trained=True, weights=WEIGHTS_FILE)
    state = {name: value.contiguous() for name, value in model.net.state_dict().items()}
    save_model(tmp_path / "m", state, made)
    again = AttributesModel.load(tmp_path / "m")
    assert again.info.trained and again.card.sizes == sizes
    assert all((value == state[name]).all() for name, value in again.net.state_dict().items())
    name = sorted(state)[0]
    save_model(tmp_path / "m", {key: value for key, value in state.items() if key != name} | {"odd": state[name]}, made)
    with pytest.raises(CheckpointMismatch, match=rf"missing: {name}\n.*unexpected: odd"):
        AttributesModel.load(tmp_path / "m")


def test_other_names_or_another_size_of_the_face_are_another_version(tmp_path: Path) -> None:
    def version(**changes: Any) -> str:
        return AttributesModel.read_card(card(tmp_path, "lnet_anet", **changes)).info.version

    labels, sizes = (
        json.loads((resolve_model("attributes-lnet") / "model.json").read_text())[name] for name in ("labels", "sizes")
    )
    renamed = ["Blurry" if name == "Black_Hair" else name for name in labels]
    renamed = [name for name in CELEBA if name in renamed]
    larger = sizes | {"image_size": 128}
    assert (
        len({version(), version(labels=renamed), version(sizes=larger), version(facts={"method": "lnet_anet", "n": 1})})
        == 4
    )


def test_a_model_may_know_all_forty() -> None:
    sizes = AttributesSizes("lnet_anet", lnet=LNetSizes(), anet=ANetSizes())
    AttributesModel.check(card_of("all", "1", sizes, CELEBA, "CC0-1.0", "test", trained=False, seed=0))


@pytest.mark.parametrize("method", METHODS)
def test_the_exported_graph_answers_as_the_net_does(tmp_path: Path, method: str) -> None:
    """Batches of any size too: the export compares three windows with a graph that was traced with one."""
    assert export_onnx(card(tmp_path, method), tmp_path / "onnx") <= 1e-4
