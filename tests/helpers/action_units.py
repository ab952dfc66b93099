"""A small untrained model for action units, as a directory."""

from __future__ import annotations

from pathlib import Path

from streamfx.models.action_units import INTENSITIES, NOVELTY, THRESHOLDS
from streamfx.models.card import WEIGHTS_FILE, ModelCard, save_model
from streamfx.nets.fmae import Fmae, FmaeConfig

UNITS = ("au_01", "au_04", "au_12")


def action_units_model(directory: Path, intensities: int = 3, novelty: bool = True, border: float = 1e6) -> Path:
    """A model of three units in `directory`; no face within `border` is novel, by default no picture."""
    net = Fmae(
        FmaeConfig(classes=3, image_size=112, dim=32, depth=2, heads=2, intensities=intensities, novelty=novelty)
    )
    net.initialise(1)
    if novelty:
        net.get_buffer("border").fill_(border)
    facts = (
        {INTENSITIES: list(UNITS[:intensities]), NOVELTY: True} if novelty else {INTENSITIES: list(UNITS[:intensities])}
    )
    card = ModelCard(
        "units-for-tests", "1", "fmae", net.config, UNITS, True, "MIT", "a test", WEIGHTS_FILE, sound=None,
        facts=facts | {THRESHOLDS: {"au_01": 0.6, "au_12": 0.6}},
    )  # fmt: skip
    save_model(directory, net.state_dict(), card)
    return directory
