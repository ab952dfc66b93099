"""Reads a video file's packets and decides how to cut it: its tracks, its clock, and whether it must be encoded."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from streamfx.errors import SourceError
from streamfx.media.keyframes import is_random_access
from streamfx.media.shortfall import LEAST_US, breaks_off, declared_us, lacks_index
from streamfx.media.tracks import VideoTrack, pick_video
from streamfx.records import MICROSECONDS

log = logging.getLogger(__name__)

REMUX_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs whose packets are copied into MP4; others are encoded to H.264."""
OVERSHOOT = 0.5
"""Fraction of the chunk length by which a chunk may exceed it to reach the next keyframe, unless chunks may be long. If
any chunk would exceed it further, the video is encoded."""
_OVERSHOOT_GRACE_US = 50_000
_LONGEST_BYTES = 2 << 30
"""All pictures of a long chunk take at most so many bytes, so that no choice of samples is too large for a decoder."""
_MAX_REORDER_US = 5 * MICROSECONDS
JUMP_BACK_US = MICROSECONDS // 2
"""Where decoding times go back by more than this, the clock was restarted; smaller steps back are muxer errors."""
RATE = Fraction(25)
"""Frames per second of a stream that has neither timestamps nor a frame rate."""
_PICTURES = re.compile("^image2|_pipe$")
"""FFmpeg's names of picture formats. One file may contain several such pictures in a row."""
_TEXTS = {"tty", "bin", "xbin", "adf", "idf"}
_MOST_BEFORE_FIRST = 2000
"""After this many packets without a picture, the next packet that decodes without an error counts as one."""
EARLIEST_START_US = 946_684_800 * MICROSECONDS
"""2000-01-01. An earlier creation time comes from a clock that was not set."""
LATEST_AHEAD_US = 86_400 * MICROSECONDS
"""How far ahead of now a start may be, which allows for time zones."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a file in which its clock does not jump back.

    `first_us` and `end_us` are the time of the first keyframe and the end of the last frame, in microseconds on the
    file's clock. `remux` is True if chunks of the allowed lengths can be cut at keyframes. `skipped` is the number of
    the track's packets before the stretch, `packets` the number in it. `runs` are the numbers of the runs of sound
    that belong to it.
    """

    first_us: int
    end_us: int
    remux: bool
    skipped: int
    packets: int
    runs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """The result of one pass over a file's packets: its stretches, of which there is one unless its clock jumps back.

    `missing_us` is how much of the declared duration the file lacks: None if the file is complete, and 0 if it breaks
    off without declaring a duration. `step_us` is the duration of one frame in a file without timestamps. `sound` is
    the index of the sound track among the file's tracks.
    """

    stretches: tuple[Stretch, ...]
    missing_us: int | None
    step_us: int | None
    sound: int | None

    @property
    def remux(self) -> bool:
        """Whether the whole file can be cut without encoding."""
        return all(stretch.remux for stretch in self.stretches)


class Borders:
    """The times at which chunks should end: multiples of the chunk length, counted from the start."""

    def __init__(self, first_us: int, chunk_us: int):
        self._first_us, self._chunk_us = first_us, chunk_us
        self._due_us = first_us + chunk_us

    def overshoot_us(self, time_us: int) -> int:
        """How far `time_us` is past the next border; negative before it."""
        return time_us - self._due_us

    def cut(self, time_us: int) -> None:
        """End a chunk at this time; the next border is the first multiple after it."""
        self._due_us = time_us + self._chunk_us - (time_us - self._first_us) % self._chunk_us


@contextmanager
def open_video(path: Path, track: VideoTrack = "auto") -> Iterator[Any]:
    """The PyAV container of a file with a video track. Raises SourceError, also for errors while it is being read."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            video_of(container, path, track)
            yield container
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        if lacks_index(path):
            raise SourceError(
                f"cannot read {path} as a video: its index (the box moov) is missing, so the recording or the upload "
                "broke off before its end; record or upload it again, or repair it with a complete file of the same "
                "camera"
            ) from error
        raise SourceError(f"cannot read {path} as a video: {reason}; expected a file that FFmpeg can decode") from error


def video_of(container: Any, path: Path, track: VideoTrack = "auto") -> Any:
    """The file's video track that `pick_video` chooses. Raises SourceError if FFmpeg can decode none."""
    video = pick_video(container, track, f"{path}: ")
    if video is None:
        expected = "a video track" if track == "auto" else f"a video track with the number {track}, counted from 0"
        found = ", ".join(stream.type for stream in container.streams) or "none"
        raise SourceError(f"{path}: expected {expected}, found tracks: {found}")
    if video.codec_context is None:
        raise SourceError(f"{path}: expected a video track that FFmpeg can decode, got one with an unknown codec")
    return video


def microseconds(ticks: int, time_base: Any) -> int:
    """A timestamp in microseconds, rounded."""
    rounded: int = round(ticks * time_base * MICROSECONDS)
    return rounded


def pictures_in(packets: Iterable[Any], video: Any) -> Iterator[Any]:
    """The video track's packets that are not empty, without those at the end that are only partly in the file."""
    held: list[Any] = []
    for packet in packets:
        if packet.size and packet.stream is video:
            held.append(packet)
            if not packet.is_corrupt:
                yield from held
                held.clear()


def plan_cuts(
    path: Path, chunk_us: int, track: VideoTrack = "auto", sound: int | None = None, longest_s: float = 0.0
) -> VideoPlan:
    """Read all packets of a file once, without decoding, and decide how it can be cut. Raises SourceError.

    `sound` is the index of the sound track among the file's tracks, None if no sound is used. A chunk may
    last half of `chunk_us` longer than that to reach the next keyframe; or up to `longest_s`, if that is more, and if
    its pictures would fit into 2 GiB.
    """
    with open_video(path, track) as container:
        video = video_of(container, path, track)
        overshoot_us = max(round(chunk_us * OVERSHOOT), _longest_us(video, longest_s) - chunk_us)
        scan = _FileScan(path, video, chunk_us, overshoot_us + _OVERSHOOT_GRACE_US)
        tracks = [video] if sound is None else [video, container.streams[sound]]
        for packet in pictures_in(scan.listen(container.demux(tracks)), video):
            scan.add(packet)
        return scan.plan(declared_us(container, video), breaks_off(container, path), sound)


def _longest_us(video: Any, longest_s: float) -> int:
    bytes_per_s = max(1, video.width * video.height * 3 * (video.average_rate or RATE))
    return int(MICROSECONDS * min(longest_s, _LONGEST_BYTES / bytes_per_s))


class _FileScan:
    """Divides a file into stretches and notes which sound was read with each."""

    def __init__(self, path: Path, video: Any, chunk_us: int, overshoot_us: int):
        self._path, self._video, self._chunk_us, self._overshoot_us = path, video, chunk_us, overshoot_us
        self._scan = _Scan(video, chunk_us, overshoot_us)
        self._stretches: list[Stretch | None] = []
        self._begun = [0]
        self._seen = self._packets = 0
        self._sound = _SoundRuns()

    def listen(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Pass all packets on, note the sound packets and count the video packets."""
        for packet in packets:
            if packet.size and packet.stream is self._video:
                self._seen += 1
            elif packet.size:
                self._sound.add(packet, len(self._begun) - 1)
            yield packet

    def add(self, packet: Any) -> None:
        if self._scan.jumps_back(packet):
            self._close()
            self._scan = _Scan(self._video, self._chunk_us, self._overshoot_us)
            self._begun.append(self._packets)
        self._scan.add(packet)
        self._packets += 1

    def _close(self) -> None:
        skipped = self._begun[-1]
        self._stretches.append(self._scan.stretch(skipped, self._packets - skipped))

    def plan(self, declared: int | None, broken: bool, sound: int | None) -> VideoPlan:
        self._close()
        runs = map(self._sound.of, range(len(self._stretches)))
        found = tuple(replace(stretch, runs=own) for stretch, own in zip(self._stretches, runs, strict=True) if stretch)
        if not found:
            raise SourceError(f"{self._path}: the video track contains no keyframe, so it cannot be decoded")
        step_us = self._scan.step_us if self._scan.without_times else None
        return VideoPlan(found, self._missing_us(found, declared, broken), step_us, sound)

    def _missing_us(self, found: Sequence[Stretch], declared: int | None, broken: bool) -> int | None:
        if declared is not None and len(found) == 1:
            missing_us = declared - max(found[0].end_us, found[0].end_us - found[0].first_us, self._sound.end_us)
            if missing_us >= LEAST_US:
                return missing_us
        return 0 if broken or self._packets < self._seen else None


@dataclass(slots=True)
class _SoundRuns:
    """The runs of a sound track between two backward jumps of its clock, and the stretch with which each was read."""

    end_us: int = 0
    _last_us: int | None = None
    _read_with: list[Counter[int]] = field(default_factory=lambda: [Counter()])

    def add(self, packet: Any, stretch: int) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            time_us = microseconds(stamp, packet.time_base)
            if self._last_us is not None and time_us < self._last_us - JUMP_BACK_US:
                self._read_with.append(Counter())
            self._last_us = time_us
            self.end_us = max(self.end_us, time_us + microseconds(packet.duration or 0, packet.time_base))
        self._read_with[-1][stretch] += 1

    def of(self, stretch: int) -> tuple[int, ...]:
        """The numbers of the runs that were mostly read with a stretch. Call it after the last packet."""
        return tuple(
            number for number, counts in enumerate(self._read_with) if counts and counts.most_common(1)[0][0] == stretch
        )


class _Scan:
    """Collects, packet by packet, what decides whether one stretch must be encoded."""

    def __init__(self, video: Any, chunk_us: int, overshoot_us: int):
        self._video = video
        self._chunk_us = chunk_us
        self._borders: Borders | None = None
        self._first_us = self._end_us = self._last_us = self._last_key_us = 0
        self._last_decoded_us: int | None = None
        self._pictures = 0
        self._hidden = False
        self._limit_us = overshoot_us
        self._remux = video.codec_context.codec.canonical_name in REMUX_CODECS
        self.step_us = round(MICROSECONDS / (video.codec_context.framerate or RATE))
        self.without_times = False

    def jumps_back(self, packet: Any) -> bool:
        """Whether the clock was restarted before this packet."""
        decoded = packet.dts if packet.dts is not None else packet.pts
        if decoded is None:
            return False
        decoded_us, before_us = microseconds(decoded, packet.time_base), self._last_decoded_us
        self._last_decoded_us = decoded_us
        if before_us is not None and decoded_us < before_us - JUMP_BACK_US:
            return True
        if self._borders is None or packet.pts is None or not packet.is_keyframe or packet.is_discard:
            return False
        back = microseconds(packet.pts, packet.time_base) < self._last_key_us
        return back and is_random_access(packet, self._video)

    def add(self, packet: Any) -> None:
        if packet.pts is None:
            self._remux = False
        if packet.is_discard:
            # An edit list starts the film inside a group of pictures; a copy would show what the list hides.
            self._remux, self._hidden = False, True
            return
        time_us = self._time_us(packet)
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

    def _time_us(self, packet: Any) -> int:
        """The presentation time of a packet's picture; in a stream without timestamps, computed from its number."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            return microseconds(stamp, packet.time_base)
        if self._borders is None:
            self.without_times = True
        return self._pictures * self.step_us if self.without_times else self._last_us

    def _add_keyframe(self, time_us: int, borders: Borders) -> None:
        self._last_key_us = time_us
        overshoot_us = borders.overshoot_us(time_us)
        if overshoot_us >= 0:
            self._remux &= overshoot_us <= self._limit_us
            borders.cut(time_us)

    def stretch(self, skipped: int, packets: int) -> Stretch | None:
        """The stretch of `packets` packets after `skipped` others; None if it has no keyframe."""
        if self._borders is None:
            return None
        end_us = self._end_us
        if end_us <= self._last_us:
            end_us = self._last_us + max(1, (self._last_us - self._first_us) // max(1, self._pictures - 1))
        remux = self._remux and self._borders.overshoot_us(end_us) <= self._limit_us
        return Stretch(self._first_us, end_us, remux, skipped, packets)


def check_pictures(path: Path, track: VideoTrack = "auto") -> None:
    """Raise SourceError if no picture of a file's video track can be decoded.

    Photos, and text files, which FFmpeg renders as a terminal would, are also refused.
    """
    with open_video(path, track) as container:
        video = video_of(container, path, track)
        if container.format.name in _TEXTS:
            raise SourceError(f"{path}: expected a video, found text ({container.format.name})")
        packets = container.demux(video)
        for number, packet in enumerate(packets):
            try:
                if not packet.decode() and number < _MOST_BEFORE_FIRST:
                    continue
            except av.error.InvalidDataError:
                continue
            if _PICTURES.search(container.format.name) and not any(more.size for more in packets):
                raise SourceError(f"{path}: expected a video, found a single picture ({container.format.name})")
            return
    raise SourceError(f"{path}: expected a video, but FFmpeg cannot decode any picture of its video track")


def default_start_us(path: Path) -> int:
    """UTC microseconds of a file's first frame: the container's creation time, else the file's modification time.

    A time before the year 2000 or more than a day ahead is not used, because retention would delete its rows at once,
    or never. Raises SourceError if neither time can be used.
    """
    with open_video(path) as container:
        stamps = [container.metadata, *(stream.metadata for stream in container.streams)]
    found: list[str] = []
    for text in (stamp.get("creation_time") for stamp in stamps):
        try:
            created = datetime.fromisoformat(text) if text else None
        except ValueError:
            continue
        if created is None:
            continue
        start_us = round((created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp() * MICROSECONDS)
        if _plausible(start_us):
            return start_us
        found.append(f"its creation time is {created.isoformat()}")
    modified_us = path.stat().st_mtime_ns // 1000
    when = datetime.fromtimestamp(modified_us // MICROSECONDS, UTC).isoformat()
    if not _plausible(modified_us):
        found.append(f"it was modified at {when}")
        raise SourceError(
            f"{path}: {' and '.join(found)}; expected a time between 2000-01-01 and tomorrow. Set the time of its "
            "first frame with source.files.start in the configuration, or with --start for publish"
        )
    if found:
        log.warning("%s: %s, which cannot be right; its modification time, %s, is used", path, found[0], when)
    return modified_us


def _plausible(start_us: int) -> bool:
    return EARLIEST_START_US <= start_us <= time.time_ns() // 1000 + LATEST_AHEAD_US


def duration_s(path: Path, track: VideoTrack = "auto") -> float:
    """The duration of a file in seconds, from its header or else from its packets. Raises SourceError."""
    with open_video(path, track) as container:
        if container.duration:
            return float(container.duration / av.time_base)
    plan = plan_cuts(path, MICROSECONDS, track)
    return sum(stretch.end_us - stretch.first_us for stretch in plan.stretches) / MICROSECONDS
