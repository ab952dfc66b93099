"""What the users of a served model see of it, its client, and its `config.pbtxt` for a Triton server."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

from streamfx.models.contract import INFO, Answer, ModelInfo, ModelSpec, Tensors, TensorSpec, weights_variable

_CONFIG_TYPES: Mapping[str, str] = {
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "FP32": "TYPE_FP32",
    "BYTES": "TYPE_STRING",
}


class ModelClient(Protocol):
    """A model that answers one item at a time; the backend batches. Safe to use from several threads."""

    @property
    def info(self) -> ModelInfo:
        """Which weights answer, the same for the client's whole life."""

    def submit(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item (no batch dimension); blocks while `serving.in_flight` items are under way.

        The future holds the outputs by name, or ServingUnavailable when the server does not answer in time however
        often asked, or ModelError when inputs or outputs break the contract.
        """

    def flush(self) -> None:
        """No item follows for now: hold nothing back to fill a batch."""

    def close(self) -> None:
        """Give the model back. Answers still under way may be lost."""


def config_pbtxt(spec: ModelSpec) -> str:
    """The text of `config.pbtxt` for a model of Triton's Python backend."""

    def tensors(field: str, specs: tuple[TensorSpec, ...]) -> str:
        entries = ",\n".join(
            f'  {{ name: "{one.name}", data_type: {_CONFIG_TYPES[one.dtype]}, dims: {list(one.dims)} }}'
            for one in specs
        )
        return f"{field} [\n{entries}\n]\n"

    return (
        "# Generated from the spec in the model's class, which a test compares this file with: change it there.\n"
        f'name: "{spec.name}"\n'
        'backend: "python"\n'
        f"max_batch_size: {spec.max_batch_size}\n"
        f"{tensors('input', spec.inputs)}{tensors('output', (*spec.outputs, INFO))}"
        "# A GPU where there is one.\n"
        "instance_group [ { kind: KIND_AUTO, count: 1 } ]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {spec.queue_delay_us} }}\n"
        f"# A model directory, or the name of one that comes with the model. {weights_variable(spec.name)} "
        "overrides it.\n"
        f'parameters {{ key: "model", value: {{ string_value: "{spec.default_weights}" }} }}\n'
    )
