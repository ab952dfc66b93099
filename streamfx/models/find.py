"""Finds served models by entry point, and the class that a model directory belongs to; describes directories for
people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path

import torch

from streamfx.errors import ModelError
from streamfx.models.base import ServedModel
from streamfx.models.card import CARD_FILE, ModelCard, find_directory, names_on, read_json
from streamfx.models.unif2ace import UniF2aceModel
from streamfx.plugins import find_class, installed

ENTRY_POINT_GROUP = "streamfx.models"


def installed_models() -> dict[str, EntryPoint]:
    """The served models on this machine by name; nothing is imported."""
    return installed(ENTRY_POINT_GROUP)


def find_model(name: str) -> type[ServedModel]:
    """The served model that is installed as `name`; ModelError where there is none."""
    return find_class(ENTRY_POINT_GROUP, name, ServedModel, "served model", ModelError)  # type: ignore[type-abstract]


def model_of(directory: Path) -> type[ServedModel]:
    """The class of the architecture that `model.json` in `directory` names; ModelError where none is installed."""
    said = read_json(directory).get("architecture")
    known, broken = {}, []
    for name in installed_models():
        try:
            model = find_model(name)
            known[model.architecture] = model
        except ModelError as error:
            broken.append(str(error))
    if not isinstance(said, str) or said not in known:
        expected = ", ".join(map(repr, known)) or "one that is installed, but none is"
        also = "".join(f". {one}" for one in broken)
        raise ModelError(f"{directory / CARD_FILE}: architecture: expected {expected}, got {said!r}{also}")
    return known[said]


def read_card(directory: Path) -> ModelCard:
    """The card in `directory`, checked by the class of its architecture; ModelError names the field that is wrong."""
    return _kind_of(directory).read_card(directory)


def _kind_of(directory: Path) -> type[ServedModel] | type[UniF2aceModel]:
    """As `model_of`, or the one kind of model that streamfx has and does not serve."""
    unserved = read_json(directory).get("architecture") == UniF2aceModel.architecture
    return UniF2aceModel if unserved else model_of(directory)


def load_model(directory: Path, device: str = "cpu") -> ServedModel:
    """The model in `directory` on `device`, of the class of its architecture; see `ServedModel.load`."""
    return model_of(directory).load(directory, device)


def list_models() -> list[ModelCard]:
    """Cards of the models that come with streamfx, by name."""
    return [read_card(find_directory(name)) for name in names_on()]


def describe(cards: Sequence[ModelCard]) -> str:
    """One line a model, for people."""
    return "\n".join(
        "  ".join(
            [
                card.name,
                card.info.version,
                "trained" if card.trained else "UNTRAINED",
                *([f"{card.info.image_size} px"] if card.info.image_size else []),
                ", ".join(card.labels),
            ]
        )
        for card in cards
    )


def card_facts(directory: Path) -> str:
    """What `model.json` says, a line a fact, for people."""
    model = _kind_of(directory)
    card = model.read_card(directory)
    with torch.device("meta"):
        net = model.build(card)
    facts = {
        "name": card.name,
        "version": card.info.version,
        "trained": "yes" if card.trained else "NO: its scores mean nothing",
        "labels": ", ".join(card.labels),
        "parameters": f"{sum(value.numel() for value in net.parameters()):,}",
        "sound": f"{_CHANNELS[card.sound.channels]} at {_rate(card.sound.rate_hz)}" if card.sound else "none",
        "sizes": ", ".join(f"{name} {value}" for name, value in asdict(card.sizes).items()),
        **{name: str(value) for name, value in card.facts.items()},
        "licence": card.licence,
        "source": card.source,
        "directory": str(directory),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


_CHANNELS = {"first": "channel 0", "mix": "a mix of all channels"}


def _rate(rate_hz: int | None) -> str:
    return "its own rate" if rate_hz is None else f"{rate_hz} Hz"
