"""From the `data` section of a recipe to examples."""

from __future__ import annotations

from streamfx.errors import ConfigError
from streamfx.train.examples import Examples, Joined
from streamfx.train.folders import open_dfew, open_mafw
from streamfx.train.recipe import Data, Folders, Synthetic
from streamfx.train.synthetic import prepare


def open_examples(data: Data) -> tuple[Examples, Examples | None]:
    """Examples to train on, and examples to measure on, if any. Cuts synthetic clips that are not cut yet."""
    if data.synthetic:
        return _synthetic(data.synthetic, data.image_size)
    open_set, folders = (open_dfew, data.dfew) if data.dfew else (open_mafw, data.mafw)
    assert isinstance(folders, Folders)
    held_out = open_set(folders, folders.held_out, data.image_size) if folders.held_out else None
    return open_set(folders, folders.train, data.image_size), held_out


def _synthetic(sets: Synthetic, image_size: int) -> tuple[Examples, Examples | None]:
    train = [prepare(folder, sets.cache, image_size, sets.processes) for folder in sets.train]
    held_out = [prepare(folder, sets.cache, image_size, sets.processes) for folder in sets.held_out]
    known = {identity for part in train for identity in part.groups["identity"]}
    shared = known & {identity for part in held_out for identity in part.groups["identity"]}
    if shared:
        raise ConfigError(
            f"data.synthetic.held_out: expected people who are in no training set, got {len(shared)} who are, such as "
            f"{min(shared)}; make the held-out set with another seed"
        )
    return Joined(train), Joined(held_out) if held_out else None
