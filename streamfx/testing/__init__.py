"""What a test of an operator needs: builders of what flows down the line, fakes of what the line lends, ways to run
one.

No part of it needs pytest, a broker, a model or a GPU, and everything follows from its arguments: a test that fails
fails again. `docs/testing-operators.md` has a whole test in twenty lines. Import from here, not from the modules
within.
"""

from streamfx.testing.builders import (
    SAMPLE_PERIOD_US,
    START_US,
    TEST_KEY,
    TEST_PARTITION,
    make_chunk,
    make_context,
    make_frame,
    make_privacy,
    make_pseudonyms,
    make_record,
    make_segment,
    make_tracked,
    make_window,
    window_tensors,
)
from streamfx.testing.disk import Died, ForgetfulDisk, ForgetfulFileSystem
from streamfx.testing.model import FakeModel
from streamfx.testing.run import run_faces, run_scores, run_windows
from streamfx.testing.source import MemorySource
from streamfx.testing.stream import ScriptedFaces, Stream, noise

__all__ = [
    "SAMPLE_PERIOD_US",
    "START_US",
    "TEST_KEY",
    "TEST_PARTITION",
    "Died",
    "FakeModel",
    "ForgetfulDisk",
    "ForgetfulFileSystem",
    "MemorySource",
    "ScriptedFaces",
    "Stream",
    "make_chunk",
    "make_context",
    "make_frame",
    "make_privacy",
    "make_pseudonyms",
    "make_record",
    "make_segment",
    "make_tracked",
    "make_window",
    "noise",
    "run_faces",
    "run_scores",
    "run_windows",
    "window_tensors",
]
