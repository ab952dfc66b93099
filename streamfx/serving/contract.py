"""The model contract, written once: what goes into a served model, what comes out, in which shapes and types.

The client, the in-process backend and `config.pbtxt` of the Triton model all come from here. Standard library and
numpy only, so that a Triton model can import it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamfx.errors import ModelError

Tensors = Mapping[str, npt.NDArray[np.generic]]
"""Tensors by name: one item, without a batch dimension."""

Answer = Mapping[str, npt.NDArray[np.generic]]
"""A model's outputs for one item, by name."""

SAME_LOGITS = 1e-4
"""How far the logits of one window may lie apart between batches and backends on one kind of device (absolute)."""

NUMPY_TYPES: Mapping[str, type[np.generic]] = {"UINT8": np.uint8, "FP32": np.float32, "BYTES": np.object_}
"""numpy's type for each of the contract's."""

_CONFIG_TYPES: Mapping[str, str] = {"UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of one item: -1 in `dims` is a size that may vary. `dtype` is Triton's name for the type."""

    name: str
    dtype: str
    dims: tuple[int, ...]

    def check(self, value: npt.NDArray[np.generic], role: str) -> None:
        """Raise ModelError unless `value` has this type and shape and, if it is a float, only finite numbers."""
        wanted = np.dtype(NUMPY_TYPES[self.dtype])
        fits = len(value.shape) == len(self.dims) and all(
            size > 0 and wish in (-1, size) for size, wish in zip(value.shape, self.dims, strict=True)
        )
        if value.dtype != wanted or not fits:
            shape = ", ".join("any" if size == -1 else str(size) for size in self.dims)
            raise ModelError(
                f"{role} {self.name!r}: expected {wanted} [{shape}], got {value.dtype} {list(value.shape)}"
            )
        if wanted.kind == "f" and not np.isfinite(value).all():
            raise ModelError(f"{role} {self.name!r}: expected finite numbers, got NaN or infinity")


@dataclass(frozen=True)
class ModelSpec:
    """A served model: its tensors, and how a server may batch requests.

    `max_batch_size` is in items; `queue_delay_us` is how long a server may hold a request back to fill a batch.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    queue_delay_us: int

    def check_inputs(self, tensors: Tensors) -> None:
        """Raise ModelError unless `tensors` are exactly the inputs of one item."""
        wanted = [spec.name for spec in self.inputs]
        if sorted(tensors) != sorted(wanted):
            got = ", ".join(sorted(tensors)) or "none"
            raise ModelError(f"model {self.name!r}: expected the inputs {', '.join(wanted)}, got {got}")
        for spec in self.inputs:
            spec.check(tensors[spec.name], "input")

    def output(self, name: str) -> TensorSpec:
        """The output called `name`."""
        return next(spec for spec in self.outputs if spec.name == name)


SOUND_RATES_HZ = range(2_000, 192_001)
"""Rates of sound that a model may ask for."""


@dataclass(frozen=True)
class SoundInput:
    """What a model hears of a window's sound, before the filter bank.

    `rate_hz`: the sound is resampled to it; None: it keeps the file's own rate. `channels`: `first` hears channel 0, `mix` a
    downmix of all (`media/downmix.py`). The default is how the authors of MMA-DFER feed their nets.
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

    `labels` name the logits in order; `image_size` is the side of the square frames in pixels; `sound` is what the filter
    bank is made of. `version` differs where the weights do, and where `sound` does.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    image_size: int
    trained: bool
    sound: SoundInput = FAITHFUL

    def to_json(self) -> str:
        """The text in the `info` output."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelInfo:
        """Read the `info` output; ModelError if it is not what `to_json` writes."""
        try:
            fields = json.loads(text)
            sound = SoundInput(**fields.get("sound", {}))
            return cls(**{**fields, "labels": tuple(fields["labels"]), "sound": sound})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"output 'info': expected the JSON of a model's name, version and labels, got {text[:200]!r}"
            ) from error

    def check_logits(self, logits: npt.NDArray[np.generic]) -> None:
        """Raise ModelError unless `logits` are one finite float32 for each label."""
        TensorSpec("logits", "FP32", (len(self.labels),)).check(logits, "output")


class ModelClient(Protocol):
    """A model that answers one item at a time; the backend batches. Safe to use from several threads."""

    @property
    def info(self) -> ModelInfo:
        """Which weights answer, the same for the client's whole life."""

    def submit(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item (no batch dimension); blocks while `serving.in_flight` items are under way.

        The future holds the outputs (`logits` float32 [labels]), or ServingUnavailable when the server does not
        answer in time however often asked, or ModelError when inputs or outputs break the contract.
        """

    def flush(self) -> None:
        """No item follows for now: hold nothing back to fill a batch."""

    def close(self) -> None:
        """Give the model back. Answers still under way may be lost."""


EXPRESSION = ModelSpec(
    name="expression",
    inputs=(TensorSpec("frames", "UINT8", (16, 3, -1, -1)), TensorSpec("fbank", "FP32", (1, 512, 128))),
    outputs=(TensorSpec("logits", "FP32", (-1,)), TensorSpec("info", "BYTES", (1,))),
    max_batch_size=32,
    queue_delay_us=5_000,
)
"""Expression of one window. A request for `info` alone runs no net, and its frames may have any size."""


def config_pbtxt(spec: ModelSpec) -> str:
    """The text of `config.pbtxt` for a model of Triton's Python backend."""

    def tensors(field: str, specs: tuple[TensorSpec, ...]) -> str:
        entries = ",\n".join(
            f'  {{ name: "{one.name}", data_type: {_CONFIG_TYPES[one.dtype]}, dims: {list(one.dims)} }}'
            for one in specs
        )
        return f"{field} [\n{entries}\n]\n"

    return (
        "# Generated from streamfx/serving/contract.py, which a test holds this file to: change it there.\n"
        f'name: "{spec.name}"\n'
        'backend: "python"\n'
        f"max_batch_size: {spec.max_batch_size}\n"
        f"{tensors('input', spec.inputs)}{tensors('output', spec.outputs)}"
        "# A GPU where there is one.\n"
        "instance_group [ { kind: KIND_AUTO, count: 1 } ]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {spec.queue_delay_us} }}\n"
        "# A model directory, or the name of one that comes with streamfx. STREAMFX_MODEL_EXPRESSION overrides it.\n"
        'parameters { key: "model", value: { string_value: "expression-small" } }\n'
    )
