"""Windows: tracked faces and sound gathered into stretches of event time, the same however the stream was cut.

Windows start on UTC multiples of the hop. Each is split into 16 equal segments, and a segment's frame is the sample
at its middle: the choice that MMA-DFER's authors make at test time. A window closes when the stream's event time passes its
end, or when the stream ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from streamfx.media.audio import log_mel, missing_sound
from streamfx.operator import OperatorConfig, OperatorContext, WindowOperator
from streamfx.records import MICROSECONDS, CropBox, FaceInFrame, Frame, Segment, Snapshot, TrackedFrame, Window
from streamfx_operators.crop import crop
from streamfx_operators.joined_sound import JoinedSound

SEGMENTS = 16
MIN_PRESENT = SEGMENTS // 2
"""Segments that must show the face."""

TrackName = tuple[int, int]
"""A track's birth time and its index among those born in that frame."""


class WindowsConfig(OperatorConfig):
    """How event time is cut into windows."""

    length_s: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    """Length of a window, seconds."""
    hop_s: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    """Seconds from one window's start to the next; starts are UTC multiples of it."""
    idle_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds of broker append time after which a silent stream is closed (topics stamped on append)."""
    crop_px: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side of the face crops, pixels."""

    @model_validator(mode="after")
    def _no_holes(self) -> Self:
        if self.hop_s > self.length_s:
            raise ValueError("hop_s must not be longer than length_s: there would be time that no window covers")
        return self

    @property
    def length_us(self) -> int:
        """Length in microseconds."""
        return round(self.length_s * MICROSECONDS)

    @property
    def hop_us(self) -> int:
        """Hop in microseconds."""
        return round(self.hop_s * MICROSECONDS)


@dataclass(slots=True)
class _Sample:
    sample_us: int
    offset: int
    box: CropBox
    score: float
    height_px: float
    pixels: npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Track:
    samples: list[_Sample] = field(default_factory=list)
    lost_until_us: int = -1
    """Windows that start at or before this need a frame that is gone."""


@dataclass(slots=True)
class _Stream:
    next_start_us: int
    """Start of the earliest window that is still open."""
    watermark_us: int = 0
    tracks: dict[TrackName, _Track] = field(default_factory=dict)
    sound: JoinedSound = field(default_factory=JoinedSound)


class Windows(WindowOperator):
    """Open windows by stream. A sample's crop is kept once, for as long as an open window needs it."""

    name = "windows"
    Config = WindowsConfig
    config: WindowsConfig

    def __init__(self, config: WindowsConfig, context: OperatorContext):
        super().__init__(config, context)
        self._streams: dict[str, _Stream] = {}

    def add(self, stream_id: str, offset: int, segment: Segment, tracked: Sequence[TrackedFrame]) -> list[Window]:
        """Take one chunk's faces and sound; return the windows that its event time closes."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = _Stream(self._first_start_after(segment.start_us))
        if segment.sound is not None:
            stream.sound.add(offset, segment.sound)
        for frame in tracked:
            for face in frame.faces:
                if frame.frame.sample_us >= stream.next_start_us:
                    track = stream.tracks.setdefault((face.birth_us, face.birth_index), _Track())
                    track.samples.append(self._cut(frame.offset, frame.frame, face))
        stream.watermark_us = max(stream.watermark_us, segment.end_us)
        return self._close(stream_id, stream, stream.watermark_us, offset)

    def end_stream(self, stream_id: str, closed_by: int) -> list[Window]:
        """Close all open windows of the stream that have enough faces."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return []
        return self._close(stream_id, stream, stream.watermark_us + 2 * self.config.length_us, closed_by)

    def snapshot(self, stream_id: str) -> Snapshot | None:
        """Which frames, boxes and stretches of sound the open windows are made of."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        return {
            "next_start_us": stream.next_start_us,
            "watermark_us": stream.watermark_us,
            "tracks": [
                {
                    "birth": list(name),
                    "lost_until_us": track.lost_until_us,
                    "samples": [_to_json(sample) for sample in track.samples],
                }
                for name, track in stream.tracks.items()
            ],
            "sound": stream.sound.snapshot(),
        }

    def offsets_needed(self, snapshot: Snapshot) -> list[int]:
        """Offsets that hold the frames and the sound of the snapshot's open windows."""
        frames = {sample["offset"] for track in snapshot["tracks"] for sample in track["samples"]}
        return sorted(frames | JoinedSound.offsets_needed(snapshot["sound"]))

    def restore(self, stream_id: str, snapshot: Snapshot, segments: Mapping[int, Segment | None]) -> int:
        """Cut the same crops again; returns how many open windows are lost with the chunks that are gone."""
        stream = _Stream(snapshot["next_start_us"], snapshot["watermark_us"])
        frames = {(offset, f.sample_us): f for offset, s in segments.items() if s is not None for f in s.frames}
        lost = 0
        for item in snapshot["tracks"]:
            name, track = (item["birth"][0], item["birth"][1]), _Track(lost_until_us=item["lost_until_us"])
            before = self._open_until(stream, track.lost_until_us)
            for sample in item["samples"]:
                frame = frames.get((sample["offset"], sample["sample_us"]))
                if frame is None:
                    track.lost_until_us = max(track.lost_until_us, sample["sample_us"])
                else:
                    track.samples.append(self._cut_again(sample, frame))
            lost += self._open_until(stream, track.lost_until_us) - before
            stream.tracks[name] = track
        stream.sound.restore(snapshot["sound"], segments)
        self._streams[stream_id] = stream
        return lost

    def _close(self, stream_id: str, stream: _Stream, until_us: int, closed_by: int) -> list[Window]:
        """Emit what ends at or before `until_us`, in order of start, then birth; let go of what no window needs."""
        config, closed = self.config, []
        while stream.next_start_us + config.length_us <= until_us:
            start_us = stream.next_start_us
            for name in sorted(stream.tracks):
                window = self._window(stream_id, stream, name, start_us, closed_by)
                if window is not None:
                    closed.append(window)
            latest_us = max((t.samples[-1].sample_us for t in stream.tracks.values() if t.samples), default=-1)
            if latest_us < start_us + config.hop_us:  # no later window up to `until_us` can hold a face
                stream.next_start_us = self._first_start_after(until_us)
                break
            stream.next_start_us += config.hop_us
        for track in stream.tracks.values():
            track.samples = [sample for sample in track.samples if sample.sample_us >= stream.next_start_us]
        stream.tracks = {n: t for n, t in stream.tracks.items() if t.samples or t.lost_until_us >= stream.next_start_us}
        stream.sound.forget_before(stream.next_start_us)
        return closed

    def _window(self, stream_id: str, stream: _Stream, name: TrackName, start_us: int, closed_by: int) -> Window | None:
        track, length_us = stream.tracks[name], self.config.length_us
        chosen = [self._sample_at(track, start_us + (2 * i + 1) * length_us // (2 * SEGMENTS)) for i in range(SEGMENTS)]
        seen = [sample for sample in chosen if sample is not None]
        if len(seen) < MIN_PRESENT or start_us <= track.lost_until_us:
            return None
        sound = stream.sound.between(start_us, length_us)
        return Window(
            stream_id=stream_id,
            birth_us=name[0],
            birth_index=name[1],
            start_us=start_us,
            end_us=start_us + length_us,
            frames=np.stack([sample.pixels for sample in _filled(chosen)]),
            fbank=missing_sound() if sound is None else log_mel(sound.waveform, sound.rate),
            present=np.array([sample is not None for sample in chosen]),
            audio_present=sound is not None and sound.covered >= 0.5,
            face_score=float(np.mean([sample.score for sample in seen])),
            face_height_px=float(np.mean([sample.height_px for sample in seen])),
            closed_by=closed_by,
            offsets=(min(sample.offset for sample in seen), max(sample.offset for sample in seen)),
        )

    def _sample_at(self, track: _Track, time_us: int) -> _Sample | None:
        """The latest sample at or before a time, not older than a sampling period."""
        for sample in reversed(track.samples):
            if sample.sample_us <= time_us:
                return sample if time_us - sample.sample_us < self.context.sample_period_us else None
        return None

    def _cut(self, offset: int, frame: Frame, face: FaceInFrame) -> _Sample:
        pixels = crop(frame.pixels, face.box, self.config.crop_px)
        return _Sample(frame.sample_us, offset, face.box, face.score, face.height_px, pixels)

    def _cut_again(self, sample: Mapping[str, Any], frame: Frame) -> _Sample:
        box = CropBox(*sample["box"])
        pixels = crop(frame.pixels, box, self.config.crop_px)
        return _Sample(sample["sample_us"], sample["offset"], box, sample["score"], sample["height_px"], pixels)

    def _first_start_after(self, time_us: int) -> int:
        """Start of the earliest window that ends after a time."""
        return ((time_us - self.config.length_us) // self.config.hop_us + 1) * self.config.hop_us

    def _open_until(self, stream: _Stream, time_us: int) -> int:
        """How many open windows start at or before a time."""
        return max(0, (time_us - stream.next_start_us) // self.config.hop_us + 1)


def _to_json(sample: _Sample) -> dict[str, Any]:
    return {
        "sample_us": sample.sample_us,
        "offset": sample.offset,
        "box": list(asdict(sample.box).values()),
        "score": sample.score,
        "height_px": sample.height_px,
    }


def _filled(chosen: Sequence[_Sample | None]) -> list[_Sample]:
    """Each segment without the face repeats the nearest earlier one, else the first."""
    latest = next(sample for sample in chosen if sample is not None)
    filled = []
    for sample in chosen:
        latest = sample or latest
        filled.append(latest)
    return filled
