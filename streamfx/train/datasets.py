"""From the `data` section of a recipe to examples."""

from __future__ import annotations

from collections.abc import Sequence

from streamfx.errors import ConfigError
from streamfx.train.examples import Examples, Joined
from streamfx.train.folders import open_dfew, open_mafw
from streamfx.train.recipe import Data, Folders, Synthetic
from streamfx.train.synthetic import PreparedSet, prepare


def open_examples(data: Data) -> tuple[Examples, Examples | None]:
    """Examples to train on, and examples to measure on, if any. Cuts synthetic clips that are not cut yet."""
    if data.synthetic:
        return _synthetic(data.synthetic, data.image_size)
    open_set, folders = (open_dfew, data.dfew) if data.dfew else (open_mafw, data.mafw)
    assert isinstance(folders, Folders)
    held_out = open_set(folders, folders.held_out, data.image_size) if folders.held_out else None
    return open_set(folders, folders.train, data.image_size), held_out


def open_calibration(data: Data) -> Examples:
    """The examples to calibrate on. ConfigError where they show people who are in another set."""
    sets = data.synthetic
    if sets is None or not sets.calibration:
        raise ConfigError("data.synthetic.calibration: expected at least one set, got none")
    parts = [prepare(folder, sets.cache, data.image_size, sets.processes) for folder in sets.calibration]
    for folder in (*sets.train, *sets.held_out):
        _refuse_same(prepare(folder, sets.cache, data.image_size, sets.processes), parts, "calibration")
    return Joined(parts)


def _synthetic(sets: Synthetic, image_size: int) -> tuple[Examples, Examples | None]:
    train = [prepare(folder, sets.cache, image_size, sets.processes) for folder in sets.train]
    held_out = [prepare(folder, sets.cache, image_size, sets.processes) for folder in sets.held_out]
    for part in train:
        _refuse_same(part, held_out, "held_out")
    return Joined(train), Joined(held_out) if held_out else None


def _refuse_same(part: PreparedSet, others: Sequence[PreparedSet], role: str) -> None:
    """Raise ConfigError where people of `part` are also in `others`."""
    known = set(part.groups["identity"])
    shared = known & {identity for other in others for identity in other.groups["identity"]}
    if shared:
        raise ConfigError(
            f"data.synthetic.{role}: expected people who are in no other set, got {len(shared)} who are, such as "
            f"{min(shared)}; make the set with another seed"
        )
