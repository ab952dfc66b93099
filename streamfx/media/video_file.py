"""A video file as the cutter reads it: its tracks, its packets on one clock, and whether it can be cut without encoding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av

from streamfx.errors import SourceError
from streamfx.media.keyframes import is_random_access
from streamfx.records import MICROSECONDS

REMUX_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs whose packets go into MP4 as they are; others are encoded to H.264."""
OVERSHOOT = 0.5
"""Part of a chunk's length by which it may run on to the next keyframe; where one runs on longer, the video is encoded."""
_OVERSHOOT_GRACE_US = 50_000
_MAX_REORDER_US = 5 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """What one pass over a file's packets says, in microseconds on the file's own clock.

    `first_us` and `end_us` are the first keyframe's time and the end of the last frame. `remux` says whether chunks of the
    wanted length can be cut at keyframes.
    """

    first_us: int
    end_us: int
    remux: bool


class Borders:
    """Where chunks end: at the first possible place at or after each multiple of the chunk's length from the start."""

    def __init__(self, first_us: int, chunk_us: int):
        self._first_us, self._chunk_us = first_us, chunk_us
        self._due_us = first_us + chunk_us

    def overshoot_us(self, time_us: int) -> int:
        """How far `time_us` is past the next border; negative before it."""
        return time_us - self._due_us

    def cut(self, time_us: int) -> None:
        """A chunk ends here: the next border is the first multiple after it."""
        self._due_us = time_us + self._chunk_us - (time_us - self._first_us) % self._chunk_us


@contextmanager
def open_video(path: Path) -> Iterator[Any]:
    """The PyAV container of a file with a video track. Raises SourceError, also for what goes wrong while it is read."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            video_of(container, path)
            yield container
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"cannot read {path} as a video: {reason}; expected a file that FFmpeg can decode") from error


def video_of(container: Any, path: Path) -> Any:
    """The file's first video track that is no cover picture."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if stream.codec_context is None:
                raise SourceError(f"{path}: the video track's codec is not known to FFmpeg")
            return stream
    found = ", ".join(stream.type for stream in container.streams) or "none"
    raise SourceError(f"{path}: expected a video track, found tracks: {found}")


def microseconds(ticks: int, time_base: Any) -> int:
    """A timestamp in microseconds, rounded."""
    rounded: int = round(ticks * time_base * MICROSECONDS)
    return rounded


def plan_cuts(path: Path, chunk_us: int) -> VideoPlan:
    """Read all pictures of a file once, decoding nothing, and decide how it can be cut. Raises SourceError."""
    with open_video(path) as container:
        video = video_of(container, path)
        scan = _Scan(path, video, chunk_us)
        for packet in container.demux(video):
            if packet.size:
                scan.add(packet)
        return scan.plan()


class _Scan:
    """Gathers, packet by packet, what decides between cutting and encoding."""

    def __init__(self, path: Path, video: Any, chunk_us: int):
        self._path = path
        self._video = video
        self._chunk_us = chunk_us
        self._borders: Borders | None = None
        self._first_us = self._end_us = self._last_us = self._last_key_us = 0
        self._pictures = 0
        self._hidden = False
        self._limit_us = round(chunk_us * OVERSHOOT) + _OVERSHOOT_GRACE_US
        self._remux = video.codec_context.codec.canonical_name in REMUX_CODECS

    def add(self, packet: Any) -> None:
        if packet.pts is None:
            self._remux = False
        if packet.is_discard:
            # An edit list starts the film inside a group: a copy would show what it hides.
            self._remux, self._hidden = False, True
            return
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return
        time_us = microseconds(stamp, packet.time_base)
        if self._borders is None:
            if not (packet.is_keyframe or self._hidden):
                return
            self._remux &= is_random_access(packet, self._video)
            self._first_us = self._end_us = self._last_us = self._last_key_us = time_us
            self._borders = Borders(time_us, self._chunk_us)
        elif packet.has_sidedata("new_extradata"):
            self._remux = False
        if packet.dts is not None and abs(time_us - microseconds(packet.dts, packet.time_base)) > _MAX_REORDER_US:
            self._remux = False
        self._pictures += 1
        self._last_us = max(self._last_us, time_us)
        self._end_us = max(self._end_us, time_us + microseconds(packet.duration or 0, packet.time_base))
        if packet.is_keyframe and is_random_access(packet, self._video):
            self._add_keyframe(time_us, self._borders)

    def _add_keyframe(self, time_us: int, borders: Borders) -> None:
        if time_us < self._last_key_us:
            raise SourceError(
                f"{self._path}: the clock jumps back from {self._last_key_us / 1e6:.3f} s to {time_us / 1e6:.3f} s; "
                "expected one recording with ascending timestamps; split it there, or give it new timestamps"
            )
        self._last_key_us = time_us
        overshoot_us = borders.overshoot_us(time_us)
        if overshoot_us >= 0:
            self._remux &= overshoot_us <= self._limit_us
            borders.cut(time_us)

    def plan(self) -> VideoPlan:
        if self._borders is None:
            raise SourceError(f"{self._path}: the video track holds no keyframe, so nothing of it can be decoded")
        end_us = self._end_us
        if end_us <= self._last_us:
            end_us = self._last_us + max(1, (self._last_us - self._first_us) // max(1, self._pictures - 1))
        remux = self._remux and self._borders.overshoot_us(end_us) <= self._limit_us
        return VideoPlan(self._first_us, end_us, remux)


def default_start_us(path: Path) -> int:
    """UTC microseconds of a file's first frame: the container's creation time, else the file's modification time."""
    with open_video(path) as container:
        stamps = [container.metadata, *(stream.metadata for stream in container.streams)]
    for text in (stamp.get("creation_time") for stamp in stamps):
        try:
            created = datetime.fromisoformat(text) if text else None
        except ValueError:
            continue
        if created is not None:
            start_us = round((created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp() * MICROSECONDS)
            if start_us > 0:
                return start_us
    return path.stat().st_mtime_ns // 1000


def duration_s(path: Path) -> float:
    """Seconds of media in a file, from its header where that says so, else from its packets. Raises SourceError."""
    with open_video(path) as container:
        if container.duration:
            return float(container.duration / av.time_base)
    plan = plan_cuts(path, MICROSECONDS)
    return (plan.end_us - plan.first_us) / MICROSECONDS
