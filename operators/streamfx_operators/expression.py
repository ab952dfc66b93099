"""Expression: what a face shows over a window, from its frames and the sound with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field

from streamfx.columns import Column
from streamfx.config.findings import Finding, look_at_file, missing, wrong
from streamfx.config.messages import did_you_mean
from streamfx.config.tree import Config as Tree
from streamfx.errors import ModelError
from streamfx.operator import OperatorConfig, OperatorContext, ScoreOperator
from streamfx.records import Window
from streamfx.serving.contract import SoundInput
from streamfx.serving.models import list_models, read_card, resolve_model


class ExpressionConfig(OperatorConfig):
    """Which model scores the windows."""

    model: Annotated[str, Field(min_length=1)] = "expression-small"
    """Model directory, or the name of one that comes with streamfx. Behind Triton the server must serve the same."""


class Expression(ScoreOperator):
    """One probability an expression, the likeliest of them, and its probability."""

    name = "expression"
    Config = ExpressionConfig

    def __init__(self, config: ExpressionConfig, context: OperatorContext):
        super().__init__(config, context)
        self._client = context.open_model(config.model)
        self._labels = self._client.info.labels
        of = f"by the model {self._client.info.name}"
        self._columns = (
            *(
                Column(f"p_{label}", "float", f"Probability of {label} (0..1, all expressions add up to 1) {of}.")
                for label in self._labels
            ),
            Column("expression", "category", f"The likeliest expression {of}.", self._labels),
            Column("expression_confidence", "float", "Probability of `expression` (0..1)."),
        )

    @classmethod
    def look(cls, section: ExpressionConfig, config: Tree) -> Iterator[Finding]:
        """Whether the model is here, by its card and the name of its weights; nothing is loaded."""
        try:
            directory = resolve_model(section.model)
        except ModelError as error:
            near = did_you_mean(section.model, (card.name for card in list_models()))
            if config.serving.backend == "triton":
                said = f"{error}{near}; what Triton serves is taken as it is"
                yield Finding("warning", f"{cls.name}.model", said)
            elif Path(section.model).name == section.model:
                yield wrong(f"{cls.name}.model", f"{error}{near}")
            else:
                yield missing(f"{cls.name}.model", error)
            return
        try:
            card = read_card(directory)
        except ModelError as error:
            yield wrong(f"{cls.name}.model", error)
            return
        if card.weights is not None and config.serving.backend == "in_process":
            yield from look_at_file(f"{cls.name}.model", directory / card.weights, "the model's weights")
        if not card.trained:
            yield Finding("warning", f"{cls.name}.model", f"{card.name} is untrained: its scores mean nothing")

    @classmethod
    def models(cls, section: ExpressionConfig) -> Mapping[str, str]:
        """The one."""
        return {"model": section.model}

    @property
    def columns(self) -> tuple[Column, ...]:
        """`p_<label>` for each of the model's labels, `expression`, `expression_confidence`."""
        return self._columns

    @property
    def sound(self) -> SoundInput:
        """What the model says that it hears."""
        return self._client.info.sound

    def submit(self, window: Window) -> Future[Mapping[str, Any]]:
        """Ask the model; the future holds the column values."""
        frames = to_model_size(window.frames, self._client.info.image_size)
        asked = self._client.submit({"frames": frames, "fbank": window.fbank[None]})
        scored: Future[Mapping[str, Any]] = Future()
        scored.set_running_or_notify_cancel()

        def pass_on(answer: Future[Any]) -> None:
            try:
                scored.set_result(self._values(answer.result()["logits"]))
            except BaseException as error:
                scored.set_exception(error)

        asked.add_done_callback(pass_on)
        return scored

    def flush(self) -> None:
        """Hold nothing back."""
        self._client.flush()

    def close(self) -> None:
        """Give the model back."""
        self._client.close()

    def provenance(self) -> Mapping[str, str]:
        """Name and version of the weights that answer."""
        return {"model": self._client.info.name, "model_version": self._client.info.version}

    def _values(self, logits: npt.NDArray[np.float32]) -> Mapping[str, Any]:
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = shifted / shifted.sum()
        best = int(probabilities.argmax())
        values: dict[str, Any] = {f"p_{label}": float(p) for label, p in zip(self._labels, probabilities, strict=True)}
        return values | {"expression": self._labels[best], "expression_confidence": float(probabilities[best])}


def to_model_size(frames: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """uint8 [16, S, S, 3] -> contiguous uint8 [16, 3, side, side]; plain bilinear, smoothed where it shrinks."""
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if pictures.shape[-2:] != (side, side):
        resized = F.interpolate(pictures.float(), size=(side, side), mode="bilinear", antialias=True)
        pictures = resized.round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pictures.numpy())
