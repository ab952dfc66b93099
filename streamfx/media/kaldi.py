"""torchaudio's Kaldi features, importable with any build of torch. Import torchaudio from here and nowhere else."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch

from streamfx.errors import MissingComponent


def load_torchaudio_kaldi() -> Any:
    """`torchaudio.compliance.kaldi`. Raises MissingComponent where torchaudio is absent.

    torchaudio's wheel contains a native extension built for CUDA. With a CPU build of torch the extension cannot be
    loaded, and the import fails. The features themselves are pure Python, so in that case only, a stub replaces the
    extension.
    """
    if importlib.util.find_spec("torchaudio") is None:
        raise MissingComponent(
            "the sound features need the package torchaudio; install it with `pip install torchaudio==2.11.0`"
        )
    if torch.version.cuda is None and "torchaudio" not in sys.modules:
        sys.modules.setdefault("torchaudio._extension", _without_native_code())
    return importlib.import_module("torchaudio.compliance.kaldi")


def _without_native_code() -> ModuleType:
    """A stub with the names that `torchaudio._extension` has where the extension was not built."""

    def unavailable(*_: object, **__: object) -> None:
        raise RuntimeError(
            "this function of torchaudio needs its native extension, which cannot be loaded with a CPU build of torch"
        )

    stand_in = ModuleType("torchaudio._extension")
    for name, value in {
        "_IS_TORCHAUDIO_EXT_AVAILABLE": False,
        "_IS_ALIGN_AVAILABLE": False,
        "_check_cuda_version": lambda: None,
        "_load_lib": lambda name: False,
        "fail_if_no_align": lambda function: unavailable,
    }.items():
        setattr(stand_in, name, value)
    return stand_in
