"""The plotting library inside the page: uPlot, which draws lines over time, by its version and digest on npm."""

from __future__ import annotations

from typing import ClassVar

from streamfx.models.npm_files import NpmFiles

SCRIPT, STYLE, LICENCE = "uPlot.iife.min.js", "uPlot.min.css", "LICENSE"


class PlottingLibrary(NpmFiles):
    """A plotting library for browsers."""

    what: ClassVar[str] = "plotting library"


UPLOT = PlottingLibrary(
    name="uplot",
    package="uplot",
    version="1.6.32",
    licence="MIT",
    sha512="KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
    files={
        SCRIPT: (f"package/dist/{SCRIPT}", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        STYLE: (f"package/dist/{STYLE}", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        LICENCE: (f"package/{LICENCE}", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
    },
)
