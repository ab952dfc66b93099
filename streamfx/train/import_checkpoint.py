"""Checkpoint import: the MMA-DFER authors' files into a model directory, without running what is pickled in them."""

from __future__ import annotations

import collections
import hashlib
import math
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.nets.mma_dfer import LABELS_7, LABELS_11, MmaDfer, MmaDferConfig
from streamfx.serving.models import ARCHITECTURE, WEIGHTS_FILE, ModelCard, check_state, save_model

LICENCE_NOTE = (
    "The authors of MMA-DFER state no licence for their weights, and its data sets (DFEW, MAFW) are for research only: "
    "clear your use with them before you deploy this model."
)
PREFIX = "module."
LABELS = {len(labels): labels for labels in (LABELS_7, LABELS_11)}


@dataclass(frozen=True)
class ImportReport:
    """What was imported: the new model directory, its card, and how many tensors it holds."""

    directory: Path
    card: ModelCard
    tensors: int
    note: str = LICENCE_NOTE


def import_mma_dfer(file: Path, out: Path) -> ImportReport:
    """Turn a checkpoint file of the authors' layout into the model directory `out`.

    The number of classes (7 or 11) and the image size are read off the weights. Only tensors are unpickled: every other
    object in the file becomes an inert one. Raises ModelError for a file that is no checkpoint, and CheckpointMismatch,
    naming every key that is missing, unexpected or of the wrong shape, for weights of another architecture.
    """
    if (out / "model.json").exists():
        raise ModelError(f"{out} already holds a model; give --out another directory, or remove it first")
    state = _state_dict(file)
    config = _sizes(state)
    with torch.device("meta"):
        net = MmaDfer(config)
    try:
        check_state(net, state, str(file))
        labels = LABELS.get(config.classes)
        if labels is None:
            raise CheckpointMismatch(f"{file}: our_classifier: expected 7 or 11 classes, got {config.classes}")
        # One tensor at a time keeps the peak at one copy beside the file's own pages.
        for key in net.state_dict():
            state[key] = (
                state[key].detach().to(torch.float32, memory_format=torch.contiguous_format, copy=_is_view(state[key]))
            )
            if not bool(torch.isfinite(state[key]).all()):
                raise ModelError(f"{file}: {key}: expected finite weights, found NaN or infinity")
        card = ModelCard(
            name="mma-dfer",
            version=f"sha256-{_digest(file)[:12]}",
            architecture=ARCHITECTURE,
            sizes=config,
            labels=labels,
            trained=True,
            licence="None stated by the authors; data sets for research only.",
            source="MMA-DFER checkpoint (arXiv 2404.09010), imported.",
            weights=WEIGHTS_FILE,
        )
        save_model(out, state, card)
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{file}: the checkpoint's tensors cannot be read: {error}") from error
    return ImportReport(out, card, len(state))


def _state_dict(file: Path) -> dict[str, torch.Tensor]:
    """The tensors under `state_dict`, without the prefix that DataParallel put before their names."""
    content = _load(file)
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise ModelError(
            f"{file}: expected a dict with a `state_dict` in it, as the authors' trainer saves, found none"
        )
    wrong = [str(key) for key, value in state.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))]
    wrong += [
        str(key) for key, value in state.items() if isinstance(value, torch.Tensor) and not value.is_floating_point()
    ]
    if wrong:
        raise ModelError(
            f"{file}: state_dict: expected floating-point tensors by name, got something else at {', '.join(wrong)}"
        )
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


def _sizes(state: Mapping[str, torch.Tensor]) -> MmaDferConfig:
    """The authors' sizes, with classes and image size from the weights where their shapes can be read so."""
    config = MmaDferConfig()
    classifier = state.get("our_classifier.weight")
    if classifier is not None and classifier.ndim == 2 and classifier.shape[0] > 0:
        config = replace(config, classes=classifier.shape[0])
    positions = state.get("image_encoder.pos_embed")
    if positions is not None and positions.ndim == 3:
        patches = positions.shape[1] - 1 - config.prompts
        side = math.isqrt(max(patches, 0))
        if side and side * side == patches:
            config = replace(config, image_size=side * config.patch)
    return config


def _is_view(value: torch.Tensor) -> bool:
    return value.untyped_storage().nbytes() != value.nbytes


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load(file: Path) -> Any:
    """What torch.save wrote, unpickled by allow-list; ModelError for anything else."""
    try:
        zipped = _kind(file) == "zip"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(
                file, map_location="cpu", mmap=zipped or None, weights_only=False, pickle_module=_TENSORS_ONLY
            )
    except ModelError:
        raise
    # A hostile or broken pickle can fail in any way that Python knows.
    except Exception as error:
        raise ModelError(
            f"{file}: not a readable PyTorch checkpoint ({type(error).__name__}: {str(error)[:300]})"
        ) from error


def _kind(file: Path) -> str:
    """`zip` for a present-day checkpoint, `pickle` for one of before 2020; ModelError for others."""
    try:
        with file.open("rb") as stream:
            start = stream.read(2)
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {file}: {error.strerror or error}") from error
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            # TorchScript holds a program; torch.load would hand it on to another reader.
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ModelError(f"{file}: expected a checkpoint (torch.save), got a TorchScript program")
        return "zip"
    if start[:1] == b"\x80" and not tarfile.is_tarfile(file):
        return "pickle"
    raise ModelError(f"{file}: expected a PyTorch checkpoint (torch.save), got a file that starts with {start!r}")


class _Inert:
    """Stands in for everything in a pickle that is not a tensor: swallows construction, calls and contents."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        pass

    def _swallow(self, *args: object, **kwargs: object) -> _Inert:
        return self

    __call__ = append = extend = add = __setitem__ = _swallow


def _allowed(module: str, name: str) -> Callable[..., Any] | type | torch.dtype | None:
    """The few globals that tensors are rebuilt with."""
    if (module, name) == ("collections", "OrderedDict"):
        return collections.OrderedDict
    if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        rebuild: Callable[..., Any] = getattr(torch._utils, name)
        return rebuild
    if module == "torch" and name.endswith("Storage"):
        storage = getattr(torch, name, None)
        return storage if isinstance(storage, type) and issubclass(storage, torch.storage.TypedStorage) else None
    if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
        return getattr(torch, name)  # type: ignore[no-any-return]
    if (module, name) == ("torch.storage", "UntypedStorage"):
        return torch.UntypedStorage
    return None


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler with an allow-list; no state is ever applied to an object, whatever the pickle says.

    The implementation in Python, not the one in C, since only there BUILD can be replaced.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """The allowed global, else the inert class."""
        return _allowed(module, name) or _Inert

    def load_build(self) -> None:
        """Drop the state."""
        self.stack.pop()  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = load_build


def _unpickle(stream: IO[bytes], **options: Any) -> Any:
    return _Unpickler(stream, **options).load()


_TENSORS_ONLY = SimpleNamespace(Unpickler=_Unpickler, load=_unpickle, __name__="streamfx.train.import_checkpoint")
"""What torch.load asks of a pickle module."""
