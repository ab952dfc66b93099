"""The base class of served models: a subclass is one kind of net behind its contract, wherever the net runs.

Triton's Python backend imports it in an environment of its own, so that this package and every served model import the
standard library, numpy, torch, safetensors and streamfx's own rooms below, nothing else.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from streamfx.errors import ModelError
from streamfx.models.card import CARD_FILE, ModelCard, check_state, parse_card, read_json
from streamfx.models.contract import PRECISION_VARIABLE, ModelInfo, ModelSpec, Tensors
from streamfx.models.outside import outside_weights
from streamfx.models.shared import read_state
from streamfx.nets.precision import PRECISIONS, Precision, at_precision, check_precision, has_encoders
from streamfx.records import Window

log = logging.getLogger(__name__)


class ServedModel(ABC):
    """A net with its weights, loaded. A package joins by an entry point in the group `streamfx.models`, under
    `spec.name`.

    A subclass says what goes in and out (`spec`, `spec_of`), how its net is built and called (`build`, `forward`), and
    what of a window the worker sends (`inputs`). All else, such as reading its directory, is here.
    """

    spec: ClassVar[ModelSpec]
    architecture: ClassVar[str]
    """What `model.json` of this model's directories says; no other class has it."""
    Sizes: ClassVar[type[Any]]
    """The dataclass of the card's `sizes`, which checks itself with ValueError. `image_size`, where it has one, is the
    side of the frames that the model takes."""
    shelf: ClassVar[Path | None] = None
    """Folder of the model directories that come with this model's package; None: those that come with streamfx."""

    def __init__(self, card: ModelCard, net: nn.Module, device: str, info: ModelInfo | None = None):
        self.card, self.info, self.device = card, info or card.info, device
        self.net: Any = net
        self._spec = self.spec_of(card.info)

    @classmethod
    def load(cls, directory: Path, device: str = "cpu", precision: Precision = "fp32") -> Self:
        """The model in `directory`, its net in evaluation mode on `device`. Warns where it is untrained.

        `precision` is that of ViT encoders; a net without any stays float32, and `info` says so. Raises ModelError for
        an unreadable file and a precision that is not for `device`, CheckpointMismatch where weights and sizes
        disagree, MissingComponent where the machine lacks weights of others.
        """
        card = cls.read_card(directory)
        info = cls.info_at(card, precision)
        _check_precision(info, device)
        if not card.trained:
            log.warning(
                "model %s (%s) is untrained: its scores mean nothing; use it to try the pipeline",
                card.name,
                card.info.version,
            )
        outside = {
            f"{part}.{key}": value
            for part, name in card.outside.items()
            for key, value in outside_weights(name).state().items()
        }
        if card.weights is None:
            net = cls.build(card)
            cls.initialise(net, card.seed or 0)
            state = net.state_dict() | outside
            check_state(net, state, str(directory / CARD_FILE))
            net.load_state_dict(state)
        else:
            with torch.device("meta"):
                net = cls.build(card)
            state = read_state(directory, net.state_dict().keys()) | outside
            check_state(net, state, str(directory / card.weights))
            # Weights may be stored in fewer bits; the net computes in float32.
            net.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        net = at_precision(net.to(device).eval().requires_grad_(False), info.precision)
        return cls(card, net, device, info)

    @classmethod
    def info_at(cls, card: ModelCard, precision: Precision) -> ModelInfo:
        """What the answers of the card's weights say of them where they are loaded with `precision`."""
        if precision == "fp32":
            return card.info
        with torch.device("meta"):
            return card.info.at(precision) if has_encoders(cls.build(card)) else card.info

    @classmethod
    def read_card(cls, directory: Path) -> ModelCard:
        """The card in `directory`, checked as far as this class can without the weights; ModelError names what is
        wrong."""
        path, said = directory / CARD_FILE, read_json(directory).get("architecture")
        if said != cls.architecture:
            raise ModelError(f"{path}: architecture: expected {cls.architecture!r}, got {said!r}")
        card = parse_card(directory, cls.Sizes)
        try:
            cls.check(card)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from error
        return card

    @classmethod  # noqa: B027
    def check(cls, card: ModelCard) -> None:
        """Raise ValueError, with the field's name, where the card's parts do not go together."""

    @classmethod
    @abstractmethod
    def build(cls, card: ModelCard) -> nn.Module:
        """The net, without values that mean anything; torch's device may be the meta device."""

    @classmethod
    def initialise(cls, net: nn.Module, seed: int) -> None:
        """Give an untrained net, of a card that has a seed in place of weights, its values."""
        raise ModelError(f"model {cls.spec.name!r} cannot be made from a seed; its {CARD_FILE} must name its weights")

    @classmethod
    def spec_of(cls, info: ModelInfo) -> ModelSpec:
        """The spec with the sizes that these weights fix, such as the side of the frames (see `ModelSpec.fixed`)."""
        return cls.spec

    @classmethod
    @abstractmethod
    def inputs(cls, window: Window, info: ModelInfo) -> Tensors:
        """What the worker sends for one window to the weights that `info` names; contiguous arrays.

        Take the frames from `models/frames.py`, so that models of one size share what is cut and uploaded. Nothing may
        write to the arrays, neither to those of the window nor to those that are returned here.
        """

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs for a batch of the spec's inputs on the net's device; called by `run`, and traced by the
        export."""

    def run(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs for a batch of the spec's inputs, by name, on the CPU: all that is ever asked of a served net.

        Inputs are believed to be checked. ModelError where the net fails, or where its outputs break the spec.
        """
        try:
            with torch.inference_mode():
                outputs = self.forward({name: value.to(self.device) for name, value in batch.items()})
                outputs = {name: value.cpu() for name, value in outputs.items()}
        except Exception as error:
            raise ModelError(f"the net {self.card.name} failed on {self.device}: {error}") from error
        self._spec.check_outputs({name: value.numpy() for name, value in outputs.items()}, batched=True)
        return outputs


def _check_precision(info: ModelInfo, device: str) -> None:
    try:
        hint = check_precision(info.precision, device)
    except ValueError as error:
        raise ModelError(f"model {info.name}: {error}") from error
    if hint:
        log.warning("model %s: %s", info.name, hint)


def precision_of(wish: str) -> Precision:
    """The precision that an environment variable names; ModelError for another word."""
    for precision in PRECISIONS:
        if wish == precision:
            return precision
    raise ModelError(f"{PRECISION_VARIABLE}: expected one of {', '.join(PRECISIONS)}, got {wish!r}")


def pick_device(wish: str) -> str:
    """`cpu` or `cuda`; `auto` takes CUDA where there is one. ModelError for a CUDA that is not there."""
    available = torch.cuda.is_available()
    if wish == "cuda" and not available:
        raise ModelError("device: expected a CUDA device, found none; set serving.device to `cpu` or `auto`")
    return ("cuda" if available else "cpu") if wish == "auto" else wish
