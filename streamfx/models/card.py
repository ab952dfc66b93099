"""Model directories: what `model.json` says, the weights beside it, and where a directory is found by name.

A directory holds `model.json` (what the model is) and `weights.safetensors`. Without weights, `model.json` has a seed
that the net is initialised from: such a model is untrained and says so.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from streamfx.errors import CheckpointMismatch, MissingComponent, ModelError
from streamfx.models.contract import FAITHFUL, ModelInfo, SoundInput, sound_from
from streamfx.models.outside import KNOWN, outside_weights
from streamfx.shipped import shipped
from streamfx.whole_files import whole_file, write_whole

log = logging.getLogger(__name__)

CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
MODEL_CARD = "MODEL_CARD.md"
"""For people, beside `model.json`: data, recipe, accuracy, what the model must not be used for."""


@dataclass(frozen=True)
class Shared:
    """The tensors of another model, in its `version`, whose names begin with `part` ("": all)."""

    model: str
    version: str
    part: str = ""


@dataclass(frozen=True)
class ModelCard:
    """What `model.json` says.

    `architecture` names the model's class, and `sizes` are of that class's own type; `labels` name the outputs in
    order. `version` names the weights, and goes into every row with a mark for `sound`, which is what the model hears
    (None: nothing). `trained` is False for weights that are only initialised. `weights` is the file beside the card;
    None: initialise from `seed`. `facts` are what else the class needs to know, as JSON values. `outside` maps parts of
    the net to the weights of others that they have (`models/outside.py`), which are not in that file; where a machine
    lacks them, the model `instead` is taken. `shared` maps parts ("": all) to those of other models that hold the same
    tensors (`models/shared.py`), which are not in that file either. `seal` is the `content` with which `version` was given
    (`save_model` writes it); where the content is another, the version in the rows has a mark of it.
    """

    name: str
    version: str
    architecture: str
    sizes: Any
    labels: tuple[str, ...]
    trained: bool
    licence: str
    source: str
    weights: str | None = None
    seed: int | None = None
    sound: SoundInput | None = FAITHFUL
    facts: Mapping[str, Any] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    instead: str | None = None
    shared: Mapping[str, Shared] = field(default_factory=dict)
    seal: str | None = None

    @property
    def content(self) -> str:
        """8 hex digits of what decides the answers beside the weights and the sound: sizes, labels, seed and facts."""
        decides = [asdict(self.sizes), self.labels, self.seed, dict(self.facts)]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def info(self) -> ModelInfo:
        """The part of the card that travels with the answers. Its version also says what the model hears, and is another
        one where labels, facts or sizes are no longer those with which the weights were saved."""
        version = self.version + (self.sound.mark if self.sound else "")
        version += "" if self.seal == self.content else f"-{self.content}"
        size = getattr(self.sizes, "image_size", None)
        return ModelInfo(self.name, version, self.labels, size, self.trained, self.sound, self.facts)

    def save(self, directory: Path) -> None:
        """Write `model.json`, whole or not at all."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_whole(directory / CARD_FILE, text)


_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "version", "architecture", "labels", "licence", "source"), ((str,), "text")),
    "trained": ((bool,), "true or false"),
    "weights": ((str, type(None)), "the name of a file, or null"),
    "seed": ((int, type(None)), "a whole number, or null"),
    "facts": ((dict,), "a JSON object"),
    "outside": ((dict,), "a JSON object"),
    "instead": ((str, type(None)), "the name of a model, or null"),
    "seal": ((str, type(None)), "text, or null"),
}
"""What the fields of `model.json` may hold, but `sizes` and `sound`, which check themselves."""


def resolve_model(name_or_dir: str | Path, shelf: Path | None = None, architecture: str | None = None) -> Path:
    """The directory of the model that answers to `name_or_dir` on this machine: that of `find_directory`, or of the
    model that its card names for machines without the weights of others. The log says so, once."""
    directory, said = usable_directory(find_directory(name_or_dir, shelf, architecture), shelf)
    for sentence in said:
        _say_once(sentence)
    return directory


def usable_directory(directory: Path, shelf: Path | None = None) -> tuple[Path, list[str]]:
    """The directory of the model that is taken on this machine for the one in `directory`, and a sentence for each
    model that is not. Raises MissingComponent, which says how to get what is missing, where there is none."""
    passed, said = [directory], list[str]()
    while (problem := _missing_outside(directory)) is not None:
        instead, why = problem
        if instead is None:
            raise MissingComponent(why)
        try:
            directory = find_directory(instead, shelf)
        except ModelError as error:
            raise MissingComponent(f"{why}; {instead} cannot be taken instead: {error}") from error
        if directory in passed:
            raise MissingComponent(f"{why}; {instead} cannot be taken instead: it lacks them too")
        passed.append(directory)
        said.append(f"{why}; {instead} is taken instead")
    return directory, said


def _missing_outside(directory: Path) -> tuple[str | None, str] | None:
    """Where this machine lacks weights of others that the model in `directory` needs: the model to take instead (None:
    none), and a sentence that says what is missing and how to get it."""
    raw = read_json(directory)
    named, instead = raw.get("outside") or {}, raw.get("instead")
    if not isinstance(named, dict) or not isinstance(instead, str | None):
        return None  # `parse_card` says what is wrong with it, and with names that are unknown
    for weights in KNOWN.values():
        if weights.name in named.values() and not weights.is_ready:
            return instead, f"{raw.get('name')} needs weights that are not on this machine: {weights.how_to_get}"
    return None


@functools.cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)


def find_directory(name_or_dir: str | Path, shelf: Path | None = None, architecture: str | None = None) -> Path:
    """The directory of a model: `name_or_dir` itself if it is one, else the one of that name on `shelf`.

    `shelf` is the folder of the model directories that come with a package; None: with streamfx. ModelError where there is
    none, which names those on the shelf, of this `architecture` if one is given.
    """
    directory, shelf = Path(name_or_dir), shelf or shipped("weights")
    if (directory / CARD_FILE).is_file():
        return directory.resolve()
    if directory.name == str(name_or_dir) and (shelf / directory / CARD_FILE).is_file():
        return shelf / directory
    known = names_on(shelf, architecture)
    shipping = (
        f"or one of those shipped: {', '.join(known)}" if known else "since none of its kind ships (docs/training.md)"
    )
    raise ModelError(f"no model {str(name_or_dir)!r}: expected a directory with a {CARD_FILE}, {shipping}")


def names_on(shelf: Path | None = None, architecture: str | None = None) -> list[str]:
    """Names of the model directories on a shelf, as for `resolve_model`; only those of an `architecture`, if one is given."""
    folders = [path.parent for path in (shelf or shipped("weights")).glob(f"*/{CARD_FILE}")]
    return sorted(
        one.name for one in folders if architecture is None or read_json(one).get("architecture") == architecture
    )


def read_json(directory: Path) -> dict[str, Any]:
    """What `model.json` holds, believed in nothing but that it is a JSON object; ModelError where it is none."""
    path = directory / CARD_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_a_card(path, error) from error
    if not isinstance(raw, dict):
        raise _not_a_card(path, f"got a {type(raw).__name__}")
    return raw


def parse_card(directory: Path, sizes: type[Any]) -> ModelCard:
    """Read and check `model.json`, whose sizes are of type `sizes`; ModelError names the field that is wrong."""
    path, raw = directory / CARD_FILE, read_json(directory)
    try:
        parsed = {"sizes": sizes(**raw["sizes"]), "labels": tuple(raw["labels"]), "sound": sound_from(raw)}
        parsed |= {"shared": shared_from(raw, path)}
        card = ModelCard(**{**raw, **parsed})
    except (ValueError, TypeError, KeyError) as error:
        raise _not_a_card(path, error) from error
    for name, (kinds, words) in _KINDS.items():
        for value in card.labels if name == "labels" else [getattr(card, name)]:
            if type(value) not in kinds:
                raise ModelError(f"{path}: {name}: expected {words}, got {value!r}")
    for weights in card.outside.values():
        try:
            outside_weights(weights)
        except ModelError as error:
            raise ModelError(f"{path}: outside: {error}") from error
    if (card.weights is None) == (card.seed is None):
        raise ModelError(f"{path}: expected either weights (a file) or seed (a number)")
    if card.weights is not None and Path(card.weights).name != card.weights:
        raise ModelError(f"{path}: weights: expected a file beside it, got {card.weights!r}")
    return card


def shared_from(raw: Mapping[str, Any], path: Path) -> dict[str, Shared]:
    """What the card `raw`, read from `path`, says that it shares; ModelError for what is not of that form."""
    told = raw.get("shared") or {}
    try:
        found = {str(part): Shared(**named) for part, named in told.items()}
        if not all(type(value) is str for one in found.values() for value in (one.model, one.version, one.part)):
            raise TypeError("expected texts")
    except (TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: shared: expected parts of the net, each with model, version and part of another: {error}"
        ) from error
    return found


def _not_a_card(path: Path, why: object) -> ModelError:
    expected = ", ".join(one.name for one in fields(ModelCard))
    return ModelError(f"{path}: expected a JSON object with {expected}: {why}")


def version_of(state: Mapping[str, torch.Tensor], facts: str = "") -> str:
    """The version of trained weights: a digest of all tensors with their names, and of `facts` that are calibrated."""
    content = hashlib.sha256(facts.encode())
    for name in sorted(state):
        content.update(name.encode() + state[name].numpy().tobytes())
    return f"sha256-{content.hexdigest()[:12]}"


def save_model(directory: Path, state: dict[str, torch.Tensor], card: ModelCard) -> None:
    """Write a model directory: weights, then card with its seal, each whole or not at all. `card.weights` must name the
    file."""
    if card.weights is None:
        raise ModelError("a model with weights needs their file name in its card")
    try:
        write_weights(directory / card.weights, state)
        replace(card, seal=card.content).save(directory)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"cannot write the model directory {directory}: {error}") from error


def write_weights(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all, and its folder where there is none; OSError, SafetensorError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as hidden:
        hidden.touch()
        # safetensors lets nobody but the owner read its files; a server runs as another user.
        mode = hidden.stat().st_mode
        save_file(state, hidden, metadata)
        hidden.chmod(mode)


def read_weights_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata; OSError, SafetensorError."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no mapping)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU; ModelError where it cannot be read."""
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
        return weights
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error


def check_state(net: torch.nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Unless `state` fits `net`, raise CheckpointMismatch with every missing, unexpected and wrong-shaped key."""
    wanted = {key: list(value.shape) for key, value in net.state_dict().items()}
    wrong = [
        f"{key} (expected {wanted[key]}, got {list(value.shape)})"
        for key, value in state.items()
        if key in wanted and list(value.shape) != wanted[key]
    ]
    problems = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "of the wrong shape": wrong,
    }
    if any(problems.values()):
        found = "\n".join(f"  {kind}: {', '.join(keys)}" for kind, keys in problems.items() if keys)
        raise CheckpointMismatch(f"{origin}: the weights are not those of this architecture:\n{found}")
