"""Model directories: finding, describing, loading and writing them.

A directory holds `model.json` (what the model is) and `weights.safetensors`. Without weights, `model.json` has a seed
that the net is initialised from: such a model is untrained and says so. Standard library, numpy, torch and safetensors
only, so that a Triton model can import it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.nets.mma_dfer import MmaDfer, MmaDferConfig
from streamfx.serving.contract import EXPRESSION, FAITHFUL, ModelInfo, SoundInput
from streamfx.shipped import shipped

log = logging.getLogger(__name__)

CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
MODEL_CARD = "MODEL_CARD.md"
"""For people, beside `model.json`: data, recipe, accuracy, what the model must not be used for."""
ARCHITECTURE = "mma_dfer"


@dataclass(frozen=True)
class ModelCard:
    """What `model.json` says.

    `sizes` are those of the architecture; `labels` name the logits in order; `version` names the weights, and goes into every
    row with a mark for `sound`, which is what the model hears. `trained` is False for weights that are only initialised.
    `weights` is the file beside the card; None: initialise from `seed`.
    """

    name: str
    version: str
    architecture: str
    sizes: MmaDferConfig
    labels: tuple[str, ...]
    trained: bool
    licence: str
    source: str
    weights: str | None = None
    seed: int | None = None
    sound: SoundInput = FAITHFUL

    @property
    def info(self) -> ModelInfo:
        """The part of the card that travels with the answers. Its version also says what the model hears."""
        version = self.version + self.sound.mark
        return ModelInfo(self.name, version, self.labels, self.sizes.image_size, self.trained, self.sound)

    def save(self, directory: Path) -> None:
        """Write `model.json`, whole or not at all."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        unfinished = directory / f".{CARD_FILE}.{os.getpid()}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(directory / CARD_FILE)


_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "version", "architecture", "labels", "licence", "source"), ((str,), "text")),
    "trained": ((bool,), "true or false"),
    "weights": ((str, type(None)), "the name of a file, or null"),
    "seed": ((int, type(None)), "a whole number, or null"),
}
"""What the fields of `model.json` may hold, but `sizes` and `sound`, which check themselves."""


def resolve_model(name_or_dir: str | Path) -> Path:
    """The directory of a model: `name_or_dir` itself if it is one, else the shipped one of that name."""
    directory = Path(name_or_dir)
    if (directory / CARD_FILE).is_file():
        return directory.resolve()
    ours = shipped("weights")
    if directory.name == str(name_or_dir) and (ours / directory / CARD_FILE).is_file():
        return ours / directory
    known = ", ".join(card.name for card in list_models()) or "none"
    raise ModelError(
        f"no model {str(name_or_dir)!r}: expected a directory with a {CARD_FILE}, or one of those shipped: {known}"
    )


def list_models() -> list[ModelCard]:
    """Cards of the models that come with streamfx, by name."""
    return [read_card(path.parent) for path in sorted(shipped("weights").glob(f"*/{CARD_FILE}"))]


def read_card(directory: Path) -> ModelCard:
    """Read and check `model.json`; ModelError names the field that is wrong."""
    path = directory / CARD_FILE
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sound = SoundInput(**raw.get("sound", {}))
        sizes, labels = MmaDferConfig(**raw["sizes"]), tuple(raw["labels"])
        card = ModelCard(**{**raw, "sizes": sizes, "labels": labels, "sound": sound})
    except (OSError, ValueError, TypeError, KeyError) as error:
        expected = ", ".join(field.name for field in fields(ModelCard))
        raise ModelError(f"{path}: expected a JSON object with {expected}: {error}") from error
    for name, (kinds, words) in _KINDS.items():
        for value in card.labels if name == "labels" else [getattr(card, name)]:
            if type(value) not in kinds:
                raise ModelError(f"{path}: {name}: expected {words}, got {value!r}")
    if card.architecture != ARCHITECTURE:
        raise ModelError(f"{path}: architecture: expected {ARCHITECTURE!r}, got {card.architecture!r}")
    if len(card.labels) != card.sizes.classes or len(set(card.labels)) != len(card.labels):
        raise ModelError(f"{path}: labels: expected {card.sizes.classes} different names, got {list(card.labels)}")
    if (card.weights is None) == (card.seed is None):
        raise ModelError(f"{path}: expected either weights (a file) or seed (a number)")
    if card.weights is not None and Path(card.weights).name != card.weights:
        raise ModelError(f"{path}: weights: expected a file beside it, got {card.weights!r}")
    return card


def load_model(directory: Path, device: str = "cpu") -> tuple[MmaDfer, ModelCard]:
    """The net in evaluation mode on `device`, and its card. Warns where the model is untrained.

    Raises ModelError for an unreadable file, CheckpointMismatch where weights and sizes disagree.
    """
    card = read_card(directory)
    if not card.trained:
        log.warning(
            "model %s (%s) is untrained: its scores mean nothing; use it to try the pipeline",
            card.name,
            card.info.version,
        )
    if card.weights is None:
        net = MmaDfer(card.sizes)
        net.initialise(card.seed or 0)
    else:
        with torch.device("meta"):
            net = MmaDfer(card.sizes)
        state = _read_weights(directory / card.weights)
        check_state(net, state, str(directory / card.weights))
        # Weights may be stored in fewer bits; the net computes in float32.
        net.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return net.to(device).eval().requires_grad_(False), card


def save_model(directory: Path, state: dict[str, torch.Tensor], card: ModelCard) -> None:
    """Write a model directory: weights, then card, each whole or not at all. `card.weights` must name the file."""
    if card.weights is None:
        raise ModelError("a model with weights needs their file name in its card")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = directory / f".{card.weights}.{os.getpid()}"
        try:
            save_file(state, unfinished)
            unfinished.replace(directory / card.weights)
        finally:
            unfinished.unlink(missing_ok=True)
        card.save(directory)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"cannot write the model directory {directory}: {error}") from error


def check_state(net: torch.nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
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


def pick_device(wish: str) -> str:
    """`cpu` or `cuda`; `auto` takes CUDA where there is one. ModelError for a CUDA that is not there."""
    available = torch.cuda.is_available()
    if wish == "cuda" and not available:
        raise ModelError("device: expected a CUDA device, found none; set serving.device to `cpu` or `auto`")
    return ("cuda" if available else "cpu") if wish == "auto" else wish


def run_net(net: MmaDfer, card: ModelCard, device: str, frames: torch.Tensor, fbank: torch.Tensor) -> torch.Tensor:
    """Logits float32 [B, classes], on the CPU, for a batch of the contract's tensors; ModelError for another image size."""
    size = card.sizes.image_size
    if tuple(frames.shape[-2:]) != (size, size):
        raise ModelError(
            f"input 'frames': model {card.name} takes {size}x{size} pixels, got {frames.shape[-1]}x{frames.shape[-2]}"
        )
    with torch.inference_mode():
        answer: torch.Tensor = net(frames.to(device), fbank.to(device))
        return answer.float().cpu()


def logits(directory: Path, frames: npt.NDArray[np.generic], fbank: npt.NDArray[np.generic]) -> list[float]:
    """The model's logits for one window: `frames` uint8 [1, 16, 3, S, S], `fbank` float32 [1, 1, 512, 128]."""
    batched = {"frames": frames, "fbank": fbank}
    for name, value in batched.items():
        if value.ndim < 1 or len(value) != 1:
            raise ModelError(
                f"input {name!r}: expected one window, a first dimension of 1, got {value.dtype} {list(value.shape)}"
            )
    EXPRESSION.check_inputs({name: value[0] for name, value in batched.items()})
    net, card = load_model(resolve_model(directory))
    answer = run_net(
        net, card, "cpu", torch.from_numpy(np.ascontiguousarray(frames)), torch.from_numpy(np.ascontiguousarray(fbank))
    )
    card.info.check_logits(answer[0].numpy())
    return [float(value) for value in answer[0]]


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
        return weights
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error


def describe(cards: Sequence[ModelCard]) -> str:
    """One line a model, for people."""
    return "\n".join(
        f"{card.name}  {card.info.version}  {'trained' if card.trained else 'UNTRAINED'}  {card.sizes.image_size} px  "
        + ", ".join(card.labels)
        for card in cards
    )


def card_facts(directory: Path) -> str:
    """What `model.json` says, a line a fact, for people."""
    card = read_card(directory)
    with torch.device("meta"):
        net = MmaDfer(card.sizes)
    facts = {
        "name": card.name,
        "version": card.info.version,
        "trained": "yes" if card.trained else "NO: its scores mean nothing",
        "labels": ", ".join(card.labels),
        "parameters": f"{sum(value.numel() for value in net.parameters()):,}",
        "sound": f"{_CHANNELS[card.sound.channels]} at {_rate(card.sound.rate_hz)}",
        "sizes": ", ".join(f"{name} {value}" for name, value in asdict(card.sizes).items()),
        "licence": card.licence,
        "source": card.source,
        "directory": str(directory),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


_CHANNELS = {"first": "channel 0", "mix": "a mix of all channels"}


def _rate(rate_hz: int | None) -> str:
    return "its own rate" if rate_hz is None else f"{rate_hz} Hz"
