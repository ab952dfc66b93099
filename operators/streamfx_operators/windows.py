"""Windows: collects tracked faces and sound into windows of event time, which do not depend on how the stream was cut.

Windows start on UTC multiples of the hop. Each is split into 16 equal segments, and a segment's frame is the sample
shown at its middle: the choice that MMA-DFER's authors make at test time. A window closes when the stream's event time
passes its end, or when the stream ends. Which windows a sample serves follows from its time alone, so only those
samples are cut, once for all windows that share them, and kept for as long as one of these is open.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from streamfx.media.audio import log_mel, missing_sound
from streamfx.media.crop import crop
from streamfx.media.resample import resampled
from streamfx.operator import OperatorConfig, OperatorContext, WindowOperator
from streamfx.records import MICROSECONDS, CropBox, Frame, Segment, Snapshot, TrackedFrame, Window
from streamfx_operators.joined_sound import JoinedSound, Stretch

SEGMENTS = 16
MIN_PRESENT = SEGMENTS // 2
"""Number of segments that must show the face."""

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
    offset: int
    sample_us: int
    score: float
    height_px: float
    box: CropBox
    pixels: npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Track:
    samples: list[_Sample] = field(default_factory=list)
    lost_starts: set[int] = field(default_factory=set)
    """Open windows that need a frame that is gone."""


@dataclass(slots=True)
class _Stream:
    next_start_us: int
    """Start of the earliest window that is still open."""
    sound: JoinedSound
    watermark_us: int = 0
    tracks: dict[TrackName, _Track] = field(default_factory=dict)


class Windows(WindowOperator):
    """Open windows by stream. A sample's crop is kept once, for as long as an open window needs it."""

    name = "windows"
    Config = WindowsConfig
    config: WindowsConfig

    def __init__(self, config: WindowsConfig, context: OperatorContext):
        super().__init__(config, context)
        self._middles_us = [(2 * i + 1) * config.length_us // (2 * SEGMENTS) for i in range(SEGMENTS)]
        self._streams: dict[str, _Stream] = {}
        self._no_sound = missing_sound()
        self._no_sound.flags.writeable = False  # all windows without sound share it

    def add(self, stream_id: str, offset: int, segment: Segment, tracked: Sequence[TrackedFrame]) -> list[Window]:
        """Take one chunk's faces and sound; return the windows that its event time closes."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = self._new_stream(self._first_start_after(segment.start_us))
        if segment.sound is not None:
            stream.sound.add(offset, segment.sound)
        closed: list[Window] = []
        for frame in tracked:
            # This is not left to the chunk's end, because a long chunk would keep crops that no open window needs.
            closed += self._close(stream_id, stream, frame.frame.sample_us, offset)
            if not self._open_starts(stream, frame.frame.sample_us):
                continue
            for face in frame.faces:
                sample = self._cut(frame.offset, frame.frame, face.box, face.score, face.height_px)
                stream.tracks.setdefault((face.birth_us, face.birth_index), _Track()).samples.append(sample)
        stream.watermark_us = max(stream.watermark_us, segment.end_us)
        return closed + self._close(stream_id, stream, stream.watermark_us, offset)

    def end_stream(self, stream_id: str, closed_by: int) -> list[Window]:
        """Close all open windows of the stream that have enough faces."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return []
        after_all_us = stream.watermark_us + self.context.sample_period_us + 2 * self.config.length_us
        return self._close(stream_id, stream, after_all_us, closed_by)

    def snapshot(self, stream_id: str) -> Snapshot | None:
        """The frames, boxes and pieces of sound that the open windows consist of."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        return {
            "next_start_us": stream.next_start_us,
            "watermark_us": stream.watermark_us,
            "tracks": [
                {
                    "birth": list(name),
                    "lost_starts": sorted(track.lost_starts),
                    "samples": [_to_json(sample) for sample in track.samples],
                }
                for name, track in stream.tracks.items()
            ],
            "sound": stream.sound.snapshot(),
        }

    def offsets_needed(self, snapshot: Snapshot) -> list[int]:
        """Offsets that hold the frames and the sound of windows that are open, or would be if a face came now."""
        frames = {offset for track in snapshot["tracks"] for offset, *_ in track["samples"]}
        return sorted(frames | JoinedSound.offsets_needed(snapshot["sound"]))

    def restore(self, stream_id: str, snapshot: Snapshot, segments: Mapping[int, Segment | None]) -> int:
        """Cut the same crops again; returns how many open windows are lost with the chunks that are gone."""
        stream = self._new_stream(snapshot["next_start_us"], snapshot["watermark_us"])
        frames = {(offset, f.sample_us): f for offset, s in segments.items() if s is not None for f in s.frames}
        lost = 0
        for item in snapshot["tracks"]:
            track = _Track(lost_starts=set(item["lost_starts"]))
            for offset, sample_us, score, height_px, *box in item["samples"]:
                frame = frames.get((offset, sample_us))
                if frame is None:
                    track.lost_starts.update(self._open_starts(stream, sample_us))
                else:
                    track.samples.append(self._cut(offset, frame, CropBox(*box), score, height_px))
            lost += len(track.lost_starts) - len(item["lost_starts"])
            stream.tracks[item["birth"][0], item["birth"][1]] = track
        stream.sound.restore(snapshot["sound"], segments)
        self._streams[stream_id] = stream
        return lost

    def _close(self, stream_id: str, stream: _Stream, until_us: int, closed_by: int) -> list[Window]:
        """Emit what ends at or before `until_us`, in order of start, then birth; drop what no window needs."""
        last_start_us = until_us - self.config.length_us
        if stream.next_start_us > last_start_us:
            return []
        due = {
            (start_us, name)
            for name, track in stream.tracks.items()
            for sample in track.samples
            for start_us in self._open_starts(stream, sample.sample_us)
            if start_us <= last_start_us
        }
        windows = [self._window(stream_id, stream, name, start_us, closed_by) for start_us, name in sorted(due)]
        stream.next_start_us = max(stream.next_start_us, self._first_start_after(until_us))
        for track in stream.tracks.values():
            track.samples = [sample for sample in track.samples if self._open_starts(stream, sample.sample_us)]
            track.lost_starts = {start_us for start_us in track.lost_starts if start_us >= stream.next_start_us}
        stream.tracks = {name: track for name, track in stream.tracks.items() if track.samples or track.lost_starts}
        stream.sound.forget_before(stream.next_start_us)
        return [window for window in windows if window is not None]

    def _window(self, stream_id: str, stream: _Stream, name: TrackName, start_us: int, closed_by: int) -> Window | None:
        track, length_us = stream.tracks[name], self.config.length_us
        chosen = {i: sample for sample in track.samples for i in self._segments_shown(sample.sample_us, start_us)}
        if len(chosen) < MIN_PRESENT or start_us in track.lost_starts:
            return None
        seen = list(chosen.values())
        sound = stream.sound.between(start_us, length_us)
        return Window(
            stream_id=stream_id,
            birth_us=name[0],
            birth_index=name[1],
            start_us=start_us,
            end_us=start_us + length_us,
            frames=np.stack([sample.pixels for sample in _filled(chosen)]),
            fbank=self._bank(sound),
            present=np.array([i in chosen for i in range(SEGMENTS)]),
            audio_present=sound is not None and sound.covered >= 0.5,
            face_score=float(np.mean([sample.score for sample in seen])),
            face_height_px=float(np.mean([sample.height_px for sample in seen])),
            closed_by=closed_by,
            offsets=(min(sample.offset for sample in seen), max(sample.offset for sample in seen)),
        )

    def _bank(self, sound: Stretch | None) -> npt.NDArray[np.float32]:
        """The filter bank of the sound that models take, from the window's own samples only; a constant without sound,
        or where nobody hears it."""
        heard = self.context.sound
        if sound is None or heard is None:
            return self._no_sound
        return log_mel(*resampled(sound.waveform, sound.rate, heard.rate_hz))

    def _new_stream(self, next_start_us: int, watermark_us: int = 0) -> _Stream:
        # Where nobody hears, the sound is still joined: rows say whether there was any.
        channels = self.context.sound.channels if self.context.sound else "first"
        return _Stream(next_start_us, JoinedSound(channels), watermark_us)

    def _segments_shown(self, sample_us: int, start_us: int) -> range:
        """Segments of a window whose middle is at the sample, or less than a sampling period after it."""
        after_us = sample_us - start_us
        return range(
            bisect_left(self._middles_us, after_us),
            bisect_left(self._middles_us, after_us + self.context.sample_period_us),
        )

    def _open_starts(self, stream: _Stream, sample_us: int) -> list[int]:
        """Starts, ascending, of the open windows that show the sample."""
        first = max(self._first_start_after(sample_us), stream.next_start_us)
        starts = range(first, sample_us + self.context.sample_period_us, self.config.hop_us)
        return [start_us for start_us in starts if self._segments_shown(sample_us, start_us)]

    def _cut(self, offset: int, frame: Frame, box: CropBox, score: float, height_px: float) -> _Sample:
        return _Sample(offset, frame.sample_us, score, height_px, box, crop(frame.pixels, box, self.config.crop_px))

    def _first_start_after(self, time_us: int) -> int:
        """Start of the earliest window that ends after a time."""
        return ((time_us - self.config.length_us) // self.config.hop_us + 1) * self.config.hop_us


def _to_json(sample: _Sample) -> list[float]:
    return [sample.offset, sample.sample_us, sample.score, sample.height_px, *astuple(sample.box)]


def _filled(chosen: Mapping[int, _Sample]) -> list[_Sample]:
    """Each segment without the face repeats the nearest earlier one, or else the first."""
    latest = chosen[min(chosen)]
    filled = []
    for i in range(SEGMENTS):
        latest = chosen.get(i, latest)
        filled.append(latest)
    return filled
