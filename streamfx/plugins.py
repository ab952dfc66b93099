"""Loads a class that a package has registered under an entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TypeVar

from streamfx.errors import StreamfxError

Base = TypeVar("Base")


def load_class(point: EntryPoint, base: type[Base], what: str, error: type[StreamfxError]) -> type[Base]:
    """The class behind `point`, a subclass of `base`.

    Raises `error`, whose message begins with `what`, where the package cannot be imported or the class is another's.
    """
    try:
        loaded = point.load()
    except Exception as cause:  # whatever a package that is not ours raises when it is imported
        raise error(
            f"{what} ({point.value}) is installed and cannot be imported: {type(cause).__name__}: {cause}; repair its "
            "package, or uninstall it"
        ) from cause
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise error(f"{what} ({point.value}) is not a subclass of {base.__module__}.{base.__qualname__}")
    return loaded
