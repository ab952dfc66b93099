"""timm, whose ViT the encoders are compared with, on a machine whose torchvision was built for another torch."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from helpers.lacking import lacks

_OPERATORS: list[torch.library.Library] = []


def import_timm() -> Any:
    """The package timm; the test is skipped where it is not installed.

    timm imports torchvision, which on PyPI is built for CUDA. Beside a torch for the CPU its library does not load, and
    importing it fails for two operators that are then missing; no ViT calls them.
    """
    if not _OPERATORS and not torch.cuda.is_available():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _OPERATORS.append(library)
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:
        lacks("timm", str(error))
