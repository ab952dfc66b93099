"""The types that flow down the line: Chunk, Segment, TrackedFrame, Window. What may leave is in privacy.PublicRow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FATES = ("processed", "no_face", "undecodable", "duplicate", "refused", "lost")
"""What can become of an input offset; each leaves one row in the `chunks` table."""

CLAIM_CHECK_TYPE = "application/vnd.streamfx.claim-check+json"
"""`content-type` of a chunk whose body is `{"uri", "bytes", "sha256"}` and whose media lie elsewhere."""


def utc_us(text: str) -> int:
    """Microseconds since 1970 of a time in ISO 8601, in UTC where it names no zone. ValueError for anything else."""
    time = datetime.fromisoformat(text)
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Partition:
    """One Kafka partition (or one file: topic `files-<id>`, partition 0); the topic id outlives a recreation."""

    topic: str
    topic_id: str
    number: int

    @property
    def log_name(self) -> str:
        """Folder of this partition's log under `_commits/`: `<topic>@<topic id>/<partition>`."""
        return f"{self.topic}@{self.topic_id}/{self.number}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a source has no media for an offset: a short token, a sentence without personal data, and the offset's fate.

    `missing_ms` is how much film is known to be missing there, milliseconds.
    """

    reason: str
    detail: str
    fate: str = "undecodable"
    missing_ms: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it arrived, before its headers are believed.

    `timestamp_ms` is the broker's append time (UTC) where the topic is stamped on append. `headers` keep their order
    and raw bytes. `value` is the body (media, or a claim check), possibly empty. `fault` says why a file has no media
    for this offset; there may be no headers either then.
    """

    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes = field(repr=False)
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A record whose headers are valid and whose media are at hand.

    `stream_id` is the raw id: it stays in this process. `start_us` is the UTC event time, in microseconds, of the
    first video frame that this chunk shows. `end` marks the stream's last chunk.
    """

    partition: Partition
    offset: int
    timestamp_ms: int
    stream_id: str = field(repr=False)
    seq: int
    start_us: int
    content_type: str
    consent: str | None
    traceparent: str | None
    end: bool
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Frame:
    """One frame on its event time. `pixels`: uint8 RGB [H, W, 3], a numpy array, or a torch tensor on a GPU.

    The frame is shown from `time_us` (UTC microseconds) until `time_us + duration_us`. `sample_us` is the point of
    the sampling grid that it was chosen for; a slow video's frame comes once for each point that it covers.
    """

    time_us: int
    duration_us: int
    sample_us: int
    pixels: npt.NDArray[np.uint8] | torch.Tensor = field(repr=False)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])


@dataclass(slots=True)
class Sound:
    """Sound at its own `rate` (Hz): `waveform` is channel 0, float32 [samples] in [-1, 1].

    Sample numbers count on one grid through a stream: `first_sample` is the number of `waveform[0]` on the grid
    whose sample 0 lies at event time `origin_us`. Chunks cut by streamfx carry the same `origin_us` throughout a stream
    (the container keeps the stream's own clock), so pieces of neighbouring chunks join exactly, to the sample.
    Where there are several, `channels` holds all of them, float32 [channels, samples], and `gains` says how much each
    counts in a mix (`media/downmix.py`).
    """

    origin_us: int
    first_sample: int
    rate: int
    waveform: npt.NDArray[np.float32] = field(repr=False)
    channels: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    gains: tuple[float, ...] = (1.0,)

    @property
    def all_channels(self) -> npt.NDArray[np.float32]:
        """float32 [channels, samples]."""
        return self.waveform[None] if self.channels is None else self.channels


@dataclass(slots=True)
class Segment:
    """A decoded chunk: the sampled frames in time order, the sound, and the stretch of event time that it covers.

    `start_us` is the first frame's time and `end_us` the end of the last frame shown (both UTC microseconds), over all
    frames of the chunk and not only the sampled ones. `frames_decoded` counts all frames that the chunk shows.
    """

    start_us: int
    end_us: int
    frames: list[Frame]
    sound: Sound | None
    frames_decoded: int


@dataclass(frozen=True, slots=True)
class CropBox:
    """Where a face is: centre and side of the square crop in pixels of a `frame_width` x `frame_height` frame.

    `roll_deg` is the angle the crop is turned by so that the eyes are level. It is all that the same crop needs again.
    """

    center_x: float
    center_y: float
    side: float
    roll_deg: float
    frame_width: int
    frame_height: int


@dataclass(frozen=True, slots=True)
class FaceInFrame:
    """One face track in one sampled frame.

    `birth_us` and `birth_index` name the track within its stream (event time of the frame it was born in, and its
    place among those born in that frame). `score` is the detector's confidence in 0..1 at the latest detection,
    `height_px` the face's height in pixels of the frame.
    `detected` is False where the box was carried on by the tracker.
    """

    birth_us: int
    birth_index: int
    box: CropBox
    score: float
    height_px: float
    detected: bool


@dataclass(slots=True)
class TrackedFrame:
    """A sampled frame with its faces. `offset` is that of the chunk that holds it; the windows operator crops it.

    `regions` are all places (x0, y0, x1, y1, pixels) that may show a face, tracked or not, by a lower threshold, for
    masking; None where the detector failed and nothing of the frame may be shown. `detected`: the detector saw this
    very frame. Only such a frame may be shown: in others a face may have come that no region knows of yet.
    """

    offset: int
    frame: Frame
    faces: list[FaceInFrame]
    regions: list[tuple[float, float, float, float]] | None
    detected: bool = False


@dataclass(slots=True)
class Window:
    """One face track for one stretch of event time, ready for the models.

    `frames` uint8 RGB [16, S, S, 3]: the face at the middle of each of 16 equal segments (a segment without the face
    repeats the nearest earlier one, else the first). `fbank` float32 [512, 128]: normalised log-mel filter bank of the
    window's sound (constant where there is none, or where no operator hears it). `present` bool [16]: segments in which
    the face was seen. `closed_by` is the offset whose record closed the window: its row belongs to that offset.
    `offsets` are the first and last chunk offsets the window's frames came from. `stream_id` is raw and stays in this
    process. Nothing writes to the arrays of a window once it is cut: all operators read the same ones, and a request
    that is under way may still read them. `sized` keeps the frames by the side that models take (`models/frames.py`);
    it belongs to these very `frames`, so a copy with others (`dataclasses.replace`) begins without it.
    """

    stream_id: str = field(repr=False)
    birth_us: int
    birth_index: int
    start_us: int
    end_us: int
    frames: npt.NDArray[np.uint8] = field(repr=False)
    fbank: npt.NDArray[np.float32] = field(repr=False)
    present: npt.NDArray[np.bool_]
    audio_present: bool
    face_score: float
    face_height_px: float
    closed_by: int
    offsets: tuple[int, int]
    sized: dict[int, npt.NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False, compare=False)


Snapshot = Mapping[str, Any]
"""An operator's state as plain JSON values: decisions, never pixels, sound, embeddings or raw ids."""
