"""The expression model for Triton's Python backend: the net of one model directory, behind the contract.

The directory is STREAMFX_MODEL_EXPRESSION, else the parameter `model` of config.pbtxt. The environment needs torch,
safetensors, and streamfx (installed with --no-deps, or its package laid beside this file).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

# `streamfx triton serve` lays its own package here, so that the server and its clients are one version.
sys.path.insert(0, str(Path(__file__).parent))

from streamfx.errors import StreamfxError
from streamfx.serving.contract import EXPRESSION
from streamfx.serving.models import load_model, resolve_model, run_net


class TritonPythonModel:
    """Answers `logits` and `info`; requests of one image size go through the net together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the net onto the instance's device."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        model = os.environ.get("STREAMFX_MODEL_EXPRESSION") or parameters["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU" and torch.cuda.is_available()
        self.device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self.net, self.card = load_model(resolve_model(model), self.device)
        self.info = self.card.info.to_json()
        pb_utils.Logger.log_info(f"expression: {self.card.name} {self.card.info.version} on {self.device}")
        if not self.card.trained:
            pb_utils.Logger.log_warn(f"expression: {self.card.name} is untrained: its scores mean nothing")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order; a request that breaks the contract fails alone."""
        responses: list[Any] = [None] * len(requests)
        by_size: dict[tuple[int, ...], list[tuple[int, Any, Any]]] = {}
        for i, request in enumerate(requests):
            frames, fbank = (self._input(request, spec.name) for spec in EXPRESSION.inputs)
            if "logits" in request.requested_output_names():
                by_size.setdefault(tuple(frames.shape[-2:]), []).append((i, frames, fbank))
            else:
                responses[i] = self._response(len(frames))
        for group in by_size.values():
            self._score(group, responses)
        return responses

    def _score(self, group: list[tuple[int, Any, Any]], responses: list[Any]) -> None:
        try:
            frames, fbank = (torch.cat([item[k] for item in group]) for k in (1, 2))
            logits = run_net(self.net, self.card, self.device, frames, fbank)
        except (StreamfxError, RuntimeError) as error:
            for i, _, _ in group:
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
            return
        sizes = [len(item[1]) for item in group]
        for (i, _, _), part in zip(group, logits.split(sizes), strict=True):
            responses[i] = self._response(len(part), part)

    def _response(self, items: int, logits: torch.Tensor | None = None) -> Any:
        tensors = [pb_utils.Tensor("info", np.array([[self.info]] * items, dtype=np.object_))]
        if logits is not None:
            tensors.append(pb_utils.Tensor.from_dlpack("logits", torch.utils.dlpack.to_dlpack(logits.contiguous())))
        return pb_utils.InferenceResponse(tensors)

    @staticmethod
    def _input(request: Any, name: str) -> torch.Tensor:
        # DLPack, since as_numpy() of this backend is silently wrong beside numpy 2.
        return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, name).to_dlpack())
