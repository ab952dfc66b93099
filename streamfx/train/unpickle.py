"""Reads checkpoints that torch.save wrote, without running code that is pickled in them."""

from __future__ import annotations

import collections
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch

from streamfx.errors import ModelError


def load_checkpoint(file: Path) -> Any:
    """Load what torch.save wrote into `file`, on the CPU: tensors in plain containers, with numbers and text.

    Every other object becomes an inert one; nothing that the pickle names is called, and no state is set on any object.
    Files in the zip format are mapped from disk, so that only used tensors cost memory. Raises ModelError for any other
    file.
    """
    try:
        zipped = _kind(file) == "zip"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(
                file, map_location="cpu", mmap=zipped or None, weights_only=False, pickle_module=_TENSORS_ONLY
            )
    except ModelError:
        raise
    # A hostile or broken pickle can raise any kind of exception.
    except Exception as error:
        raise ModelError(
            f"{file}: not a readable PyTorch checkpoint ({type(error).__name__}: {str(error)[:300]})"
        ) from error


def _kind(file: Path) -> str:
    """`zip` for today's format of checkpoints, `pickle` for the one before 2020; ModelError for others."""
    try:
        with file.open("rb") as stream:
            start = stream.read(2)
    except OSError as error:
        raise ModelError(f"cannot read the checkpoint {file}: {error.strerror or error}") from error
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            # TorchScript holds a program, which torch.load would pass on to another reader.
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
    """The few globals that are needed to rebuild tensors."""
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

    It is the implementation in Python, since the one in C does not allow BUILD to be replaced.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """The global if it is allowed, else the inert class."""
        return _allowed(module, name) or _Inert

    def load_build(self) -> None:
        """Drop the state."""
        self.stack.pop()  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = load_build


def _unpickle(stream: IO[bytes], **options: Any) -> Any:
    return _Unpickler(stream, **options).load()


_TENSORS_ONLY = SimpleNamespace(Unpickler=_Unpickler, load=_unpickle, __name__=__name__)
"""The attributes of a pickle module that torch.load uses."""
