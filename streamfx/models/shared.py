"""Tensors that two models have in common, kept once: a card says in which other model's directory they are.

Encoders are frozen, so models that were trained on the same one hold the same tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from streamfx.errors import ModelError
from streamfx.models.card import CARD_FILE, Shared, find_directory, read_json, read_weights, shared_from
from streamfx.shipped import shipped


def read_state(directory: Path, wanted: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """The tensors of the model in `directory`: those of its own file, and those that it shares, on the CPU.

    `wanted`: names of those that its net has; None takes all of a part that is shared. Raises ModelError where a file cannot
    be read, and where the other model is not here in the very version with which the tensors were the same.
    """
    raw = read_json(directory)
    state = dict[str, torch.Tensor]()
    for part, named in shared_from(raw, directory / CARD_FILE).items():
        for key, value in _weights_of(named, directory).items():
            name = _moved(key, named.part, part)
            if name is not None and (wanted is None or name in wanted):
                state[name] = value
    return state | read_weights(directory / str(raw.get("weights")))


def shipped_model(directory: Path, part: str = "") -> Shared | None:
    """How a card names the part `part` of the model in `directory`; None for a model that does not come with streamfx, since
    nobody else has it, and for an untrained one, which has no weights."""
    raw = read_json(directory)
    if directory.resolve().parent != shipped("weights").resolve() or raw.get("weights") is None:
        return None
    return Shared(directory.resolve().name, str(raw.get("version")), part)


def without_shared(
    state: Mapping[str, torch.Tensor], offered: Mapping[str, Shared]
) -> tuple[dict[str, torch.Tensor], dict[str, Shared]]:
    """`state` less the tensors that are the same in the models that are `offered`, and those of `offered` that have any."""
    rest, of_use = dict(state), dict[str, Shared]()
    for part, named in offered.items():
        for key, value in _weights_of(named, None).items():
            name = _moved(key, named.part, part)
            if name is not None and name in rest and torch.equal(rest[name], value.to(rest[name].dtype)):
                del rest[name]
                of_use[part] = named
    return rest, of_use


def _weights_of(named: Shared, reader: Path | None) -> dict[str, torch.Tensor]:
    """The other model's own file: of the directory beside the reader's, else of the one that ships."""
    beside = reader.parent / named.model if reader else None
    directory = beside if beside and (beside / CARD_FILE).is_file() else find_directory(named.model)
    raw = read_json(directory)
    if raw.get("version") != named.version:
        raise ModelError(
            f"{reader}: expected {named.model} in the version {named.version}, whose tensors it shares, got "
            f"{raw.get('version')} in {directory}; put that version beside it"
        )
    return read_weights(directory / str(raw.get("weights")))


def _moved(key: str, old: str, new: str) -> str | None:
    """The name in the part `new` of what is called `key` in the part `old`; None for what is not in that part."""
    if old:
        if not key.startswith(f"{old}."):
            return None
        key = key.removeprefix(f"{old}.")
    return f"{new}.{key}" if new else key
