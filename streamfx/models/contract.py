"""What goes into a served model and what comes out: names, shapes and types of tensors, and which weights answer.

Clients, the in-process backend, the Triton model and its `config.pbtxt` all read it from here. Standard library and
numpy only, so that a Triton model can import it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import ModelError

Tensors = Mapping[str, npt.NDArray[np.generic]]
"""Tensors by name: one item, without a batch dimension."""

Answer = Mapping[str, npt.NDArray[np.generic]]
"""A model's outputs for one item, by name."""

SAME_LOGITS = 1e-4
"""How far the logits of one window may lie apart between batches and backends on one kind of device (absolute)."""

NUMPY_TYPES: Mapping[str, type[np.generic]] = {
    "UINT8": np.uint8,
    "INT32": np.int32,
    "FP32": np.float32,
    "BYTES": np.object_,
}
"""numpy's type for each of the contract's."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of one item: -1 in `dims` is a size that may vary. `dtype` is Triton's name for the type."""

    name: str
    dtype: str
    dims: tuple[int, ...]

    def check(self, value: npt.NDArray[np.generic], role: str, batched: bool = False) -> None:
        """Raise ModelError unless `value` has this type and shape and, if it is a float, only finite numbers.

        `batched`: a dimension of any size, the items, comes before those of `dims`.
        """
        wanted, dims = np.dtype(NUMPY_TYPES[self.dtype]), (-1, *self.dims) if batched else self.dims
        fits = len(value.shape) == len(dims) and all(
            size > 0 and wish in (-1, size) for size, wish in zip(value.shape, dims, strict=True)
        )
        if value.dtype != wanted or not fits:
            shape = ", ".join("any" if size == -1 else str(size) for size in dims)
            raise ModelError(
                f"{role} {self.name!r}: expected {wanted} [{shape}], got {value.dtype} {list(value.shape)}"
            )
        if wanted.kind == "f" and not np.isfinite(value).all():
            raise ModelError(f"{role} {self.name!r}: expected finite numbers, got NaN or infinity")


INFO = TensorSpec("info", "BYTES", (1,))
"""The output of every served model that says which weights answer: the JSON of a `ModelInfo`. A request for it alone
runs no net, and sizes that may vary may have any value in it."""


def weights_variable(name: str) -> str:
    """The environment variable that tells a Triton server which weights to serve as `name`."""
    return f"STREAMFX_MODEL_{name.upper()}"


PRECISION_VARIABLE = "STREAMFX_PRECISION"
"""The environment variable that tells a Triton server which precision its models compute in."""


def precision_variable(name: str) -> str:
    """The one that tells it of the model `name`, and goes before the other."""
    return f"{PRECISION_VARIABLE}_{name.upper()}"


@dataclass(frozen=True)
class ModelSpec:
    """A served model: its tensors, how a server may batch requests, and its default weights.

    `name` is the model's name on a server and in the group of entry points. `outputs` are those of the net; a server
    adds `INFO`. `max_batch_size` is in items; `queue_delay_us` is how long a server may hold a request back to fill a
    batch. `default_weights` is a model directory, or the name of one that comes with the model.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    queue_delay_us: int
    default_weights: str

    def fixed(self, **dims: tuple[int, ...]) -> ModelSpec:
        """The same with other `dims` of some tensors, by name: sizes that certain weights fix."""
        inputs, outputs = (
            tuple(replace(one, dims=dims.get(one.name, one.dims)) for one in tensors)
            for tensors in (self.inputs, self.outputs)
        )
        return replace(self, inputs=inputs, outputs=outputs)

    def check_inputs(self, tensors: Tensors, batched: bool = False) -> None:
        """Raise ModelError unless `tensors` are exactly the inputs of one item, or of a batch if `batched`."""
        self._check(self.inputs, tensors, "input", batched)

    def check_outputs(self, tensors: Tensors, batched: bool = False) -> None:
        """Raise ModelError unless `tensors` are exactly the net's outputs for one item, or for a batch if `batched`."""
        self._check(self.outputs, tensors, "output", batched)

    def _check(self, specs: tuple[TensorSpec, ...], tensors: Tensors, role: str, batched: bool) -> None:
        wanted = [spec.name for spec in specs]
        if sorted(tensors) != sorted(wanted):
            got = ", ".join(sorted(tensors)) or "none"
            raise ModelError(f"model {self.name!r}: expected the {role}s {', '.join(wanted)}, got {got}")
        for spec in specs:
            spec.check(tensors[spec.name], role, batched)


SOUND_RATES_HZ = range(2_000, 192_001)
"""Rates of sound that a model may ask for."""


@dataclass(frozen=True)
class SoundInput:
    """What a model hears of a window's sound, before the filter bank.

    `rate_hz`: the sound is resampled to it; None: it keeps the file's own rate. `channels`: `first` hears channel 0,
    `mix` a downmix of all (`media/downmix.py`). The default is how the authors of MMA-DFER feed their nets.
    """

    rate_hz: int | None = None
    channels: str = "first"

    def __post_init__(self) -> None:
        rate = self.rate_hz
        if rate is not None and (type(rate) is not int or rate not in SOUND_RATES_HZ):
            known = f"{SOUND_RATES_HZ.start} to {SOUND_RATES_HZ.stop - 1}"
            raise ValueError(f"sound.rate_hz: expected a whole number, {known}, or null, got {rate!r}")
        if self.channels not in ("first", "mix"):
            raise ValueError(f"sound.channels: expected 'first' or 'mix', got {self.channels!r}")

    @property
    def mark(self) -> str:
        """What the version in the rows says of it: nothing for the file's own rate and channel 0."""
        if self == FAITHFUL:
            return ""
        return f"-{self.channels}" + (f"-{self.rate_hz}" if self.rate_hz else "")


FAITHFUL = SoundInput()


@dataclass(frozen=True)
class ModelInfo:
    """Which weights answer: what a row says of them, and what their inputs must look like.

    `precision` is what the encoders compute in; a version has a mark of one that is not float32. `labels` name the
    outputs in order; `image_size` is the side of the square frames in pixels, None for a model that
    sees none; `sound` is what the filter bank is made of, None for a model that hears nothing. `version` differs where
    the weights do, and where `sound`, sizes, labels or facts do. `facts` are what else the model's class needs to know of
    its weights, as JSON values.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    image_size: int | None
    trained: bool
    sound: SoundInput | None = FAITHFUL
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    precision: str = "fp32"

    def at(self, precision: str) -> ModelInfo:
        """The same weights, computing in `precision`, which must not be float32."""
        return replace(self, version=f"{self.version}+{precision}", precision=precision)

    def to_json(self) -> str:
        """The text in the `info` output."""
        fields = asdict(self)
        if not self.facts:
            # Clients from before there were facts refuse what they do not know.
            del fields["facts"]
        if self.precision == "fp32":
            del fields["precision"]  # as above
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelInfo:
        """Read the `info` output; ModelError if it is not what `to_json` writes."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "labels": tuple(fields["labels"]), "sound": sound_from(fields)})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"output 'info': expected the JSON of a model's name, version and labels, got {text[:200]!r} ({error})"
            ) from error


def sound_from(fields: Mapping[str, Any]) -> SoundInput | None:
    """What `fields`, the JSON of a model's info or card, say that it hears: as the authors' nets do where they say
    nothing.

    Raises ValueError or TypeError for a `sound` that is none.
    """
    sound = fields.get("sound", {})
    return None if sound is None else SoundInput(**sound)
