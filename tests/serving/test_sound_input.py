"""A model says what it hears, and the version in the rows says it too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamfx.errors import ConfigError, ModelError
from streamfx.models.card import resolve_model
from streamfx.models.contract import FAITHFUL, ModelInfo, SoundInput
from streamfx.models.find import read_card
from streamfx.operator import ScoreOperator
from streamfx.runtime.build import common_sound


def test_the_shipped_model_hears_a_mix_at_16_khz_and_its_version_says_so() -> None:
    card = read_card(resolve_model("expression-small"))
    assert card.sound == card.info.sound == SoundInput(16_000, "mix")
    assert card.info.version == f"{card.version}-mix-16000"


def test_a_model_that_says_nothing_hears_channel_0_as_before(tmp_path: Path) -> None:
    card = read_card(resolve_model("expression-tiny"))
    assert card.sound == FAITHFUL and card.info.version == card.version


def test_the_info_travels_whole_and_an_older_servers_info_is_faithful() -> None:
    info = ModelInfo("m", "1", ("a", "b"), 112, True, SoundInput(8_000, "mix"))
    assert ModelInfo.from_json(info.to_json()) == info
    older = {key: value for key, value in json.loads(info.to_json()).items() if key != "sound"}
    assert ModelInfo.from_json(json.dumps(older)) == replace(info, sound=FAITHFUL)


@pytest.mark.parametrize("sound", [{"rate_hz": 10}, {"rate_hz": "16000"}, {"channels": "left"}, {"rate": 16_000}, 5])
def test_a_wish_that_cannot_be_met_is_named(sound: Any, tmp_path: Path) -> None:
    raw = json.loads((resolve_model("expression-tiny") / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(raw | {"sound": sound}))
    with pytest.raises(ModelError, match=r"sound|rate|argument"):
        read_card(tmp_path)


def scoring(sound: SoundInput | None) -> ScoreOperator:
    """A score operator that asks for this."""

    class One(ScoreOperator):
        name = "one"
        columns = ()
        sound = None

    one = One(None, SimpleNamespace())
    type(one).sound = sound  # type: ignore[assignment, method-assign]
    return one


def test_two_models_that_hear_differently_are_a_clear_error() -> None:
    wish = SoundInput(16_000, "mix")
    assert common_sound({"a": scoring(None)}) is None
    assert common_sound({"a": scoring(wish), "b": scoring(None), "c": scoring(wish)}) == wish
    with pytest.raises(ConfigError, match="a: mix at 16000 Hz, b: first at own Hz"):
        common_sound({"a": scoring(wish), "b": scoring(FAITHFUL)})
