"""Builders of the types that flow down the line: everything has a default, and equal arguments give equal things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.config.privacy import PrivacySection
from streamfx.errors import ModelError
from streamfx.models.base import ServedModel
from streamfx.models.contract import FAITHFUL, SoundInput, Tensors
from streamfx.operator import OperatorContext
from streamfx.privacy.pictures import Pictures
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import MICROSECONDS, Chunk, FaceInFrame, Frame, Partition, Record, Segment, TrackedFrame, Window
from streamfx.serving.contract import ModelClient
from streamfx.source.chunk import headers_for

START_US = 1_700_000_000 * MICROSECONDS
"""Where event time begins by default: 2023-11-14 22:13:20 UTC, a multiple of every hop of whole seconds."""

SAMPLE_PERIOD_US = 125_000
"""The default distance of sampled frames: eight in a second."""

TEST_PARTITION = Partition("media", "T0p1cId", 0)
"""Where records and chunks come from by default."""

TEST_KEY = b"a key that everybody knows: test"
"""The pseudonym key of `make_pseudonyms`, for a test that gives it to a command as well."""

Region = tuple[float, float, float, float]


def make_window(seed: int = 0, side: int = 112, **fields: Any) -> Window:
    """A window of two seconds with a face in all 16 segments and with sound; `fields` replace the defaults.

    Pixels (`side` x `side`) and filter bank are noise that follows from `seed` alone.
    """
    random = np.random.default_rng(seed)
    if "frames" not in fields:
        pixels = random.integers(0, 256, (16, 3, side, side), dtype=np.uint8)
        fields["frames"] = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    if "fbank" not in fields:
        fields["fbank"] = random.standard_normal((512, 128)).astype(np.float32) * 0.5
    start_us = fields.get("start_us", START_US)
    defaults: dict[str, Any] = {
        "stream_id": "camera",
        "birth_us": start_us,
        "birth_index": 0,
        "start_us": start_us,
        "end_us": start_us + 2 * MICROSECONDS,
        "present": np.ones(16, np.bool_),
        "audio_present": True,
        "face_score": 0.9,
        "face_height_px": 80.0,
        "closed_by": 0,
        "offsets": (0, 0),
    }
    return Window(**(defaults | fields))


def window_tensors(seed: int = 0, side: int = 112) -> Tensors:
    """`make_window(seed, side)` as a model's inputs: `frames` uint8 [16, 3, side, side], `fbank` float32 [1, 512,
    128]."""
    window = make_window(seed, side)
    return {"frames": np.ascontiguousarray(window.frames.transpose(0, 3, 1, 2)), "fbank": window.fbank[None]}


def make_frame(number: int = 0, pixels: npt.NDArray[np.uint8] | None = None) -> Frame:
    """Sample `number` of a stream that begins at `START_US`. Without `pixels` it is light grey, 64 x 64."""
    shown = np.full((64, 64, 3), 200, np.uint8) if pixels is None else pixels
    time_us = START_US + number * SAMPLE_PERIOD_US
    return Frame(time_us, SAMPLE_PERIOD_US, time_us, shown)


def make_tracked(
    frame: Frame | None = None,
    regions: Sequence[Region] | None = (),
    detected: bool = True,
    faces: Sequence[FaceInFrame] = (),
    offset: int = 0,
) -> TrackedFrame:
    """A frame as a face operator returns it. `regions` None: the detector failed."""
    return TrackedFrame(
        offset,
        make_frame() if frame is None else frame,
        list(faces),
        None if regions is None else list(regions),
        detected,
    )


def make_segment(frames: Sequence[Frame]) -> Segment:
    """A decoded chunk that holds these frames, in time order, and no sound. `Stream` makes segments with sound."""
    last = frames[-1]
    return Segment(frames[0].time_us, last.time_us + last.duration_us, list(frames), None, len(frames))


def make_record(
    offset: int = 0,
    value: bytes = b"media",
    *,
    stream_id: str = "camera",
    seq: int | None = None,
    start_us: int | None = None,
    end: bool = False,
    **fields: Any,
) -> Record:
    """A message with valid headers, of chunks of one second. `seq` is the offset by default; `fields` replace those of
    the record, so that `headers=()` gives one that cannot be used."""
    start_us = START_US + offset * MICROSECONDS if start_us is None else start_us
    defaults: dict[str, Any] = {
        "partition": TEST_PARTITION,
        "timestamp_ms": start_us // 1000,
        "key": stream_id.encode(),
        "headers": headers_for(stream_id, offset if seq is None else seq, start_us, "video/mp4", end=end),
    }
    return Record(offset=offset, value=value, **(defaults | fields))


def make_chunk(offset: int = 0, **fields: Any) -> Chunk:
    """What `make_record(offset)` becomes once its headers are believed; `fields` replace the defaults."""
    start_us = fields.get("start_us", START_US + offset * MICROSECONDS)
    defaults: dict[str, Any] = {
        "partition": TEST_PARTITION,
        "timestamp_ms": start_us // 1000,
        "stream_id": "camera",
        "seq": offset,
        "start_us": start_us,
        "content_type": "video/mp4",
        "consent": None,
        "traceparent": None,
        "end": False,
        "body": b"media",
    }
    return Chunk(offset=offset, **(defaults | fields))


def make_privacy(**fields: Any) -> PrivacySection:
    """The section `privacy` of a configuration that states its purpose; `fields` replace the defaults."""
    return PrivacySection(**({"purpose": "test", "deployment_context": "research"} | fields))


def make_pseudonyms(privacy: PrivacySection | None = None) -> Pseudonyms:
    """Pseudonyms by `TEST_KEY`."""
    section = make_privacy() if privacy is None else privacy
    return Pseudonyms(section.salt_period_s, TEST_KEY)


def make_context(
    models: Mapping[str, ModelClient] | None = None,
    *,
    sample_period_us: int = SAMPLE_PERIOD_US,
    sound: SoundInput | None = FAITHFUL,
    privacy: PrivacySection | None = None,
) -> OperatorContext:
    """The context that the engine would lend an operator: `models` by the name of their weights, pseudonyms by the test
    key, and pictures that are masked as in a run.

    It raises ModelError for weights that are not in `models`, as a run does for weights that are not there.
    """
    known = models or {}

    def open_model(model: type[ServedModel], name: str) -> ModelClient:
        if name not in known:
            raise ModelError(f"the test's context has no model {name!r}; it has: {', '.join(known) or 'none'}")
        return known[name]

    section = make_privacy() if privacy is None else privacy
    return OperatorContext(open_model, make_pseudonyms(section), Pictures(section), 1, sample_period_us, sound)
