"""Streams on disk: videos that are cut, and folders of chunks that were cut before. `inputs.py` finds them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Protocol

from streamfx.errors import ConfigError, SourceError
from streamfx.media.chunk_writer import CONTENT_TYPE
from streamfx.media.cut import cut_video, default_start_us, plan_video
from streamfx.media.shortfall import holds_another
from streamfx.media.sound_track import SoundChoice
from streamfx.media.tracks import VideoTrack
from streamfx.media.video_file import VideoPlan
from streamfx.records import MICROSECONDS, Fault, utc_us
from streamfx.source.chunk import MAX_STREAM_ID_BYTES, START_US, STREAM_ID, Consent, Headers, headers_for
from streamfx.source.folders import seqs_in

log = logging.getLogger(__name__)

MEDIA_SUFFIXES = {"video/mp4": ".mp4", "video/mp2t": ".ts"}
"""Content type -> suffix of a chunk on disk."""

_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One chunk with its headers, the time of its first frame and its end (UTC microseconds).

    In a folder of chunks both come from the headers: the end is the next chunk's start, or its own start if none
    follows. `fault` says why the media are missing. If nothing is known about the chunk, there are no headers either.
    """

    seq: int
    start_us: int
    end_us: int
    headers: Headers
    body: bytes = field(repr=False)
    fault: Fault | None = None


class Stream(Protocol):
    """A stream on disk. It can be read repeatedly and always gives the same chunks.

    `left_out` holds a sentence for each part of it that is known so far to be unusable.
    """

    left_out: list[str]

    @property
    def stream_id(self) -> str:
        """The raw stream id."""

    @property
    def identity(self) -> bytes:
        """What distinguishes it from other streams: its stream id, or an unreadable file's path and content."""

    @property
    def origin(self) -> Path:
        """The file or folder that contains the stream."""

    @property
    def usable(self) -> bool:
        """False if it is known from the start that nothing of it can be read."""

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The chunks with a sequence number of at least `first`, in order, which are cut or read on demand.

        A chunk that cannot be read has a `fault`. It never raises SourceError.
        """

    def expected_chunks(self) -> int:
        """An estimate of the number of chunks, made without reading them."""

    def seqs(self) -> Sequence[int]:
        """The sequence numbers of the chunks, ascending. A video is cut once from end to end to find them."""


class VideoStream:
    """A video file, which is cut while it is read."""

    usable = True

    def __init__(
        self,
        path: Path,
        stream_id: str,
        chunk_s: float,
        start_us: int | None,
        consent: Consent | None,
        length_s: float,
        track: VideoTrack,
        sound_track: SoundChoice,
        longest_s: float = 0.0,
    ):
        """`length_s` is its approximate duration, `longest_s` as in `plan_cuts`. Raises SourceError if no start is given
        and the file has none."""
        self._sound_track: SoundChoice = sound_track
        self._longest_s = longest_s
        self.stream_id = stream_id
        self.identity = stream_id.encode()
        self.origin = path
        self.left_out: list[str] = []
        self._chunk_s = chunk_s
        self._track: VideoTrack = track
        self._duration_s = length_s
        self._start_us = default_start_us(path) if start_us is None else start_us
        self._consent: Consent | None = consent
        self._plan: VideoPlan | None = None
        self._count: int | None = None
        if holds_another(path):
            self._note(
                f"{path}: only its first film is used: several MP4 files were joined end to end in it, and players "
                "show only the first; split it into one file for each film"
            )

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The chunks from `first` on; the earlier ones are also cut, and discarded."""
        if self._count is not None and first >= self._count:
            return
        seq, end_us, ended = 0, self._start_us, False
        fault: Fault | None
        try:
            self._plan = self._plan or self._planned()
            for cut in cut_video(self.origin, self._chunk_s, self._start_us, self._plan, self._track):
                seq, end_us, ended = cut.seq + 1, cut.start_us + cut.duration_us, cut.end
                if cut.seq >= first:
                    headers = self._headers(cut.seq, cut.start_us, cut.end)
                    yield StreamChunk(cut.seq, cut.start_us, end_us, headers, cut.body)
            fault = self._shortfall(self._plan)
        except SourceError as error:
            fault = self._break(seq, error)
        if fault is not None:
            if seq >= first:
                # At 0 there are no headers, because nothing is known about the stream yet.
                headers = self._headers(seq, end_us, end=not ended) if seq else ()
                yield StreamChunk(seq, end_us, end_us, headers, b"", fault)
            seq += 1
        self._count = seq

    def expected_chunks(self) -> int:
        """An estimate from the container's duration."""
        return max(1, -(-round(self._duration_s * 1000) // round(self._chunk_s * 1000)))

    def seqs(self) -> Sequence[int]:
        """All numbers from 0 on."""
        if self._count is None:
            for _ in self.chunks():
                pass
        assert self._count is not None
        return range(self._count)

    def _headers(self, seq: int, start_us: int, end: bool) -> Headers:
        return headers_for(self.stream_id, seq, start_us, CONTENT_TYPE, end=end, consent=self._consent)

    def _planned(self) -> VideoPlan:
        plan = plan_video(self.origin, self._chunk_s, self._track, self._sound_track, self._longest_s)
        if plan.step_us is not None:
            log.warning(
                "%s has no timestamps: it is played at %.3g frames per second, its declared rate if it has one; if "
                "that is wrong, put it into a container (MP4, MKV) with the right timestamps",
                self.origin, MICROSECONDS / plan.step_us,
            )  # fmt: skip
        if len(plan.stretches) > 1:
            ends = accumulate(part.end_us - part.first_us for part in plan.stretches[:-1])
            log.warning(
                "%s: the clock jumps back after %s s of film; event time continues, and no window spans the jump",
                self.origin, ", ".join(f"{end / MICROSECONDS:.3f}" for end in ends),
            )  # fmt: skip
        return plan

    def _shortfall(self, plan: VideoPlan) -> Fault | None:
        """The fault for the declared duration that the file lacks; it gets its own offset after the other chunks."""
        if plan.missing_us is None:
            return None
        held = f"{sum(part.end_us - part.first_us for part in plan.stretches) / MICROSECONDS:.3f} s are used"
        if plan.missing_us:
            detail = f"the file breaks off: {plan.missing_us / MICROSECONDS:.3f} s that it declares are missing, {held}"
        else:
            detail = f"the file breaks off inside a picture and does not declare its duration, {held}"
        self._note(f"{self.origin}: {detail}; upload it again, under another name")
        return Fault("file_truncated", detail, fate="lost", missing_ms=plan.missing_us // 1000)

    def _break(self, seq: int, error: SourceError) -> Fault:
        what = "nothing of it" if seq == 0 else f"no more than its first {seq} chunks"
        self._note(f"{self.origin}: {what} can be used: {error}")
        return Fault("file_broken", f"the file cannot be read as a video from chunk {seq} on")

    def _note(self, sentence: str) -> None:
        if sentence not in self.left_out:
            self.left_out.append(sentence)


class FolderStream:
    """A folder of chunks, `<seq>.{mp4,ts}` with the headers in `<seq>.json`, which are used unchanged."""

    usable = True

    def __init__(self, folder: Path):
        """Raises SourceError if no chunk's headers name the stream."""
        self.origin = folder
        self.left_out: list[str] = []
        self._seqs = seqs_in(folder)
        self.stream_id = self._find_stream_id()
        self.identity = self.stream_id.encode()

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The chunks from `first` on."""
        wanted = [seq for seq in self._seqs if seq >= first]
        following_us = 0
        for seq, following in zip_longest(wanted, wanted[1:]):
            headers, fault = self._headers(seq)
            body = b""
            if fault is None:
                body, fault = self._body(seq)
            start_us = _start_us(headers) or following_us
            following_us = start_us if following is None else _start_us(self._headers(following)[0]) or start_us
            yield StreamChunk(seq, start_us, following_us, headers, body, fault)

    def expected_chunks(self) -> int:
        """The exact number of chunks."""
        return len(self._seqs)

    def seqs(self) -> Sequence[int]:
        """The numbers in the files' names."""
        return self._seqs

    def _find_stream_id(self) -> str:
        for seq in self._seqs:
            if name := dict(self._headers(seq)[0]).get(STREAM_ID):
                return name.decode()
        raise SourceError(
            f"{self.origin / f'{self._seqs[0]}.json'}: expected a header {STREAM_ID} in it or a later file, found none"
        )

    def _headers(self, seq: int) -> tuple[Headers, Fault | None]:
        path = self.origin / f"{seq}.json"
        try:
            headers = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return (), self._fault(path, "headers_unreadable", f"the headers of a chunk cannot be read: {_why(error)}")
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            return (), self._fault(path, "headers_unreadable", "expected a JSON object of header names and strings")
        try:
            # kafka-python and the JSON of other programs may contain half a surrogate pair, which cannot be encoded.
            for name in headers:
                name.encode()
            return tuple((name, value.encode()) for name, value in headers.items()), None
        except UnicodeEncodeError as error:
            return (), self._fault(path, "headers_unreadable", f"a header is not valid Unicode: {error}")

    def _body(self, seq: int) -> tuple[bytes, Fault | None]:
        for suffix in MEDIA_SUFFIXES.values():
            path = self.origin / f"{seq}{suffix}"
            try:
                if not stat.S_ISREG(path.stat().st_mode):
                    return b"", self._fault(path, "media_missing", "the media of a chunk are not in a regular file")
                return path.read_bytes(), None
            except FileNotFoundError:
                continue
            except OSError as error:
                return b"", self._fault(path, "media_missing", f"cannot read the media of a chunk: {error.strerror}")
        path = self.origin / f"{seq}.json"
        return b"", self._fault(path, "media_missing", f"expected {seq}.mp4 or {seq}.ts beside it, found neither")

    def _fault(self, path: Path, reason: str, detail: str) -> Fault:
        sentence = f"{path}: {detail}"
        if sentence not in self.left_out:
            self.left_out.append(sentence)
        return Fault(reason, detail)


class UnusableFile:
    """A video or folder of chunks in a folder that cannot be used. It has one offset, whose row gives the reason."""

    usable = False

    def __init__(self, path: Path, reason: str, detail: str, error: str):
        self.origin = path
        self.stream_id = path.name
        # It includes the content, so that a file that replaces it is another input with its own offsets.
        self.identity = b"unusable\0" + os.fsencode(os.path.abspath(path)) + b"\0" + _digest(path)
        self.left_out = [error if str(path) in error else f"{path}: {error}"]
        self._fault = Fault(reason, detail)

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The one chunk that gives the reason."""
        if first == 0:
            yield StreamChunk(0, 0, 0, (), b"", self._fault)

    def expected_chunks(self) -> int:
        """Always 0, because no chunk will come."""
        return 0

    def seqs(self) -> Sequence[int]:
        """The one offset that it has."""
        return (0,)


def parse_start(text: str) -> int:
    """UTC microseconds of an ISO 8601 time. A time without a zone is in UTC. Raises ConfigError."""
    try:
        start_us = utc_us(text)
    except ValueError as error:
        raise ConfigError(f"start: expected an ISO 8601 time such as 2026-01-31T12:00:00Z, got {text!r}") from error
    if start_us < 0:
        raise ConfigError(f"start: expected a time after 1970, got {text!r}")
    return start_us


def _start_us(headers: Headers) -> int:
    """The start time in the headers, 0 without one. The headers are validated when the chunk is read."""
    start = dict(headers).get(START_US, b"")
    return int(start) if start.isdigit() else 0


def as_text(name: str) -> str:
    """A file name or command-line argument as text. Bytes that are not UTF-8 are escaped, as in `caf\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _digest(path: Path) -> bytes:
    """A digest of a file's size and its first MiB; empty if it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return b""
            return hashlib.sha256(b"%d" % status.st_size + file.read(_HEAD_BYTES)).digest()
    except OSError:
        return b""


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def check_stream_id(stream_id: str, path: Path | str) -> None:
    """Raise SourceError for an invalid stream id; `path` says where it comes from."""
    try:
        size = len(stream_id.encode())
    except UnicodeEncodeError as error:
        raise SourceError(f"{path!r}: its name is not valid Unicode; give a stream id") from error
    if not 0 < size <= MAX_STREAM_ID_BYTES:
        raise SourceError(f"{path}: a stream id must have 1 to {MAX_STREAM_ID_BYTES} bytes of UTF-8, got {size}")
