"""A served model for Triton's Python backend: the net of one model directory, behind the contract.

A model's folder in a Triton repository holds `config.pbtxt`, generated from its spec, and `1/model.py`:

    from my_package.model import MyModel
    from streamfx.serving.triton_model import TritonModel

    class TritonPythonModel(TritonModel):
        model = MyModel

The environment needs torch, safetensors, and streamfx: installed with --no-deps, or that of `streamfx triton serve`,
which the server then imports. The model directory is that of the environment variable STREAMFX_MODEL_<NAME>, else that
of the parameter `model` in `config.pbtxt`. The precision is that of STREAMFX_PRECISION_<NAME>, else of
STREAMFX_PRECISION, else float32.
"""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

import numpy as np
import torch
import triton_python_backend_utils as pb_utils
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]

from streamfx.errors import StreamfxError
from streamfx.models.base import ServedModel, precision_of
from streamfx.models.card import resolve_model
from streamfx.models.contract import INFO, PRECISION_VARIABLE, precision_variable, weights_variable
from streamfx.processes import leave_no_core_dump

Batch = dict[str, torch.Tensor]


class TritonModel:
    """Answers a served model's outputs and `info`; requests whose tensors have the same sizes go through the net
    together."""

    model: ClassVar[type[ServedModel]]

    def initialize(self, args: dict[str, str]) -> None:
        """Load the net onto the instance's device."""
        leave_no_core_dump()
        spec, parameters = self.model.spec, json.loads(args["model_config"]).get("parameters", {})
        weights = os.environ.get(weights_variable(spec.name)) or parameters["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU" and torch.cuda.is_available()
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        wish = os.environ.get(precision_variable(spec.name)) or os.environ.get(PRECISION_VARIABLE)
        self.loaded = self.model.load(resolve_model(weights, self.model.shelf), device, precision_of(wish or "fp32"))
        info = self.loaded.info
        self.info, self.spec = info.to_json(), self.model.spec_of(info)
        pb_utils.Logger.log_info(f"{spec.name}: {info.name} {info.version} on {device}")
        if not info.trained:
            pb_utils.Logger.log_warn(f"{spec.name}: {info.name} is untrained: its scores mean nothing")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order; a request that breaks the contract fails alone."""
        responses: list[Any] = [None] * len(requests)
        alike: dict[tuple[torch.Size, ...], list[tuple[int, Batch]]] = {}
        for i, request in enumerate(requests):
            inputs = {tensor.name: self._input(request, tensor.name) for tensor in self.spec.inputs}
            if set(request.requested_output_names()) == {INFO.name}:
                responses[i] = self._response(len(next(iter(inputs.values()))))
                continue
            try:
                self.spec.check_inputs({name: value.numpy() for name, value in inputs.items()}, batched=True)
            except StreamfxError as error:
                responses[i] = _failed(error)
                continue
            alike.setdefault(tuple(value.shape[1:] for value in inputs.values()), []).append((i, inputs))
        for group in alike.values():
            self._answer(group, responses)
        return responses

    def _answer(self, group: list[tuple[int, Batch]], responses: list[Any]) -> None:
        names = group[0][1]
        try:
            outputs = self.loaded.run({name: torch.cat([inputs[name] for _, inputs in group]) for name in names})
        except StreamfxError as error:
            for i, _ in group:
                responses[i] = _failed(error)
            return
        at = 0
        for i, inputs in group:
            items = len(next(iter(inputs.values())))
            responses[i] = self._response(items, {name: value[at : at + items] for name, value in outputs.items()})
            at += items

    def _response(self, items: int, outputs: Batch | None = None) -> Any:
        tensors = [pb_utils.Tensor(INFO.name, np.array([[self.info]] * items, dtype=np.object_))]
        for name, value in (outputs or {}).items():
            tensors.append(pb_utils.Tensor.from_dlpack(name, to_dlpack(value.contiguous())))
        return pb_utils.InferenceResponse(tensors)

    @staticmethod
    def _input(request: Any, name: str) -> torch.Tensor:
        # DLPack, since as_numpy() of this backend is silently wrong beside numpy 2.
        return from_dlpack(pb_utils.get_input_tensor_by_name(request, name).to_dlpack())


def _failed(error: StreamfxError) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
