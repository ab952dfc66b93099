"""Finds the classes that packages register under an entry point, by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from streamfx.errors import StreamfxError, did_you_mean

Base = TypeVar("Base")


def installed(group: str) -> dict[str, EntryPoint]:
    """What is registered under the entry point `group`, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=group)}


def find_class(group: str, name: str, base: type[Base], what: str, error: type[StreamfxError]) -> type[Base]:
    """The class that is registered as `name`, a subclass of `base`.

    Raises `error`, whose message calls it `what`, where there is none, where its package cannot be imported, or where the
    class is another's.
    """
    points = installed(group)
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise error(
            f"{what} {name!r} is not installed under the entry point {group}; installed are: {known}"
            f"{did_you_mean(name, points)}"
        )
    point = points[name]
    try:
        loaded = point.load()
    except Exception as cause:  # whatever a package that is not ours raises when it is imported
        raise error(
            f"{what} {name!r} ({point.value}) is installed and cannot be imported: {type(cause).__name__}: {cause}; repair "
            "its package, or uninstall it"
        ) from cause
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise error(f"{what} {name!r} ({point.value}) is not a subclass of {base.__module__}.{base.__qualname__}")
    return loaded
