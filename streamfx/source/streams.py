"""Streams on disk: videos that are cut, and folders of chunks that were cut before, found in what a user names."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from streamfx.errors import ConfigError, SourceError
from streamfx.media.cut import cut_video, default_start_us, duration_s
from streamfx.media.sound_track import SoundChoice
from streamfx.shipped import shipped_clip
from streamfx.source.chunk import MAX_STREAM_ID_BYTES, START_US, STREAM_ID, Consent, Headers, headers_for

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".flv", ".wmv", ".3gp", ".ogv", ".mxf", ".vob"),
}
"""What is taken for a video in a folder; a file named by itself may have any name."""
MEDIA_SUFFIXES = {"video/mp4": ".mp4", "video/mp2t": ".ts"}
"""Content type -> suffix of a chunk on disk."""

_SEQ = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One chunk with the headers it travels under, its first frame's time and its end (UTC microseconds).

    In a folder both are what the headers tell: the end is the next chunk's start, or its own start where none follows.
    """

    seq: int
    start_us: int
    end_us: int
    headers: Headers
    body: bytes = field(repr=False)


class Stream(Protocol):
    """A stream on disk, read as often as one likes, always with the same chunks."""

    @property
    def stream_id(self) -> str:
        """The raw stream id."""

    @property
    def origin(self) -> Path:
        """The file or folder it lies in."""

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The chunks with a sequence number of at least `first`, in order, cut or read as they are asked for."""

    def expected_chunks(self) -> int:
        """About how many chunks there are, without reading them."""

    def seqs(self) -> Sequence[int]:
        """The sequence numbers there are, ascending. A video is cut from end to end for it, once."""


class VideoStream:
    """A video file, cut as it is read."""

    def __init__(
        self,
        path: Path,
        stream_id: str,
        chunk_s: float,
        start_us: int | None,
        consent: Consent | None,
        sound_track: SoundChoice = "auto",
    ):
        """Raises SourceError where the file is no video that can be read."""
        self._sound_track = sound_track
        self.stream_id = stream_id
        self.origin = path
        self._chunk_s = chunk_s
        self._duration_s = duration_s(path)
        self._start_us = default_start_us(path) if start_us is None else start_us
        self._consent: Consent | None = consent
        self._count: int | None = None

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The chunks from `first` on; the ones before are cut too, and dropped."""
        for cut in cut_video(self.origin, self._chunk_s, self._start_us, self._sound_track):
            if cut.end:
                self._count = cut.seq + 1
            if cut.seq < first:
                continue
            headers = headers_for(
                self.stream_id, cut.seq, cut.start_us, cut.content_type, end=cut.end, consent=self._consent
            )
            yield StreamChunk(cut.seq, cut.start_us, cut.start_us + cut.duration_us, headers, cut.body)

    def expected_chunks(self) -> int:
        """By the container's duration."""
        return max(1, -(-round(self._duration_s * 1000) // round(self._chunk_s * 1000)))

    def seqs(self) -> Sequence[int]:
        """All from 0."""
        if self._count is None:
            self._count = sum(1 for _ in cut_video(self.origin, self._chunk_s, self._start_us, self._sound_track))
        return range(self._count)


class FolderStream:
    """A folder of chunks, `<seq>.{mp4,ts}` with the headers in `<seq>.json`, taken as they are."""

    def __init__(self, folder: Path):
        """Raises SourceError where the first chunk's headers do not name the stream."""
        self.origin = folder
        self._seqs = _seqs_in(folder)
        headers = dict(self._headers(self._seqs[0]))
        if not headers.get(STREAM_ID):
            raise SourceError(f"{folder / f'{self._seqs[0]}.json'}: expected a header {STREAM_ID}, there is none")
        self.stream_id = headers[STREAM_ID].decode()

    def chunks(self, first: int = 0) -> Iterator[StreamChunk]:
        """The chunks from `first` on."""
        wanted = [seq for seq in self._seqs if seq >= first]
        for seq, following in zip_longest(wanted, wanted[1:]):
            headers = self._headers(seq)
            start_us = _start_us(headers)
            end_us = start_us if following is None else _start_us(self._headers(following))
            yield StreamChunk(seq, start_us, end_us, headers, self._body(seq))

    def expected_chunks(self) -> int:
        """As many as there are."""
        return len(self._seqs)

    def seqs(self) -> Sequence[int]:
        """As the files are numbered."""
        return self._seqs

    def _headers(self, seq: int) -> Headers:
        path = self.origin / f"{seq}.json"
        try:
            headers = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: the headers of a chunk cannot be read: {error}") from error
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise SourceError(f"{path}: expected a JSON object of header names and texts")
        return tuple((name, value.encode()) for name, value in headers.items())

    def _body(self, seq: int) -> bytes:
        for suffix in MEDIA_SUFFIXES.values():
            try:
                return (self.origin / f"{seq}{suffix}").read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SourceError(f"{self.origin / f'{seq}{suffix}'} cannot be read: {error.strerror}") from error
        raise SourceError(f"{self.origin}: {seq}.json has no media beside it, expected {seq}.mp4 or {seq}.ts")


def find_streams(
    inputs: Iterable[Path],
    chunk_s: float,
    start_us: int | None = None,
    stream_id: str | None = None,
    consent: Consent | None = None,
    sound_track: SoundChoice = "auto",
) -> list[Stream]:
    """The streams in video files, folders of them, and folders of chunks.

    A video's stream id is its file stem, or `stream_id` where there is but one. `start_us` (UTC of the first frame),
    `consent` and `sound_track` (which of several is kept) are given to all videos. Raises SourceError for what is
    not there or cannot be read, for an empty folder, and for a stream id that comes twice; ConfigError for settings that
    chunks already cut cannot take.
    """
    videos: list[Path] = []
    folders: list[Path] = []
    for path in inputs:
        _sort_out(shipped_clip(path), videos, folders)
    if folders and (stream_id is not None or consent is not None or start_us is not None):
        raise ConfigError(
            f"{folders[0]} holds chunks that are taken as they are: stream id, start and consent are in them"
        )
    if stream_id is not None and len(videos) != 1:
        raise ConfigError(f"a stream id can be given to one video, there are {len(videos)}")
    streams: list[Stream] = [FolderStream(folder) for folder in folders]
    for path in videos:
        name = path.stem if stream_id is None else stream_id
        check_stream_id(name, path)
        streams.append(VideoStream(path, name, chunk_s, start_us, consent, sound_track))
    _check_unique(streams)
    return streams


def parse_start(text: str) -> int:
    """UTC microseconds of an ISO 8601 time; one without a zone is UTC. Raises ConfigError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"start: expected an ISO 8601 time such as 2026-01-31T12:00:00Z, got {text!r}") from error
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    if since.days < 0:
        raise ConfigError(f"start: expected a time after 1970, got {text!r}")
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _start_us(headers: Headers) -> int:
    """0 where there is no such header: whether headers are right is for the reader of the chunk to judge."""
    start = dict(headers).get(START_US, b"")
    return int(start) if start.isdigit() else 0


def _sort_out(path: Path, videos: list[Path], folders: list[Path]) -> None:
    # os.path: a name too long to be looked up is that of no file.
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise SourceError(f"{path}: there is no such file or folder")
        videos.append(path)
        return
    if _seqs_in(path):
        folders.append(path)
        return
    children = sorted(path.iterdir())
    found = [child for child in children if child.is_file() and child.suffix.lower() in VIDEO_SUFFIXES]
    within = [child for child in children if child.is_dir() and _seqs_in(child)]
    if not found and not within:
        raise SourceError(f"{path}: the folder holds no videos and no folders of chunks")
    passed_over = len(children) - len(found) - len(within)
    if passed_over:
        log.info("%s: %d files or folders are neither videos nor chunks and are left out", path, passed_over)
    videos += found
    folders += within


def _seqs_in(folder: Path) -> list[int]:
    names = (child.stem for child in folder.iterdir() if child.suffix == ".json" and _SEQ.fullmatch(child.stem))
    return sorted(int(name) for name in names if str(int(name)) == name)


def check_stream_id(stream_id: str, path: Path | str) -> None:
    """Raise SourceError for an id that no chunk may carry; `path` says where it comes from."""
    try:
        size = len(stream_id.encode())
    except UnicodeEncodeError as error:
        raise SourceError(f"{path!r}: its name is not Unicode text; give a stream id") from error
    if not 0 < size <= MAX_STREAM_ID_BYTES:
        raise SourceError(f"{path}: a stream id must have 1 to {MAX_STREAM_ID_BYTES} bytes of UTF-8, got {size}")


def _check_unique(streams: Sequence[Stream]) -> None:
    seen: dict[str, Path] = {}
    for stream in streams:
        if stream.stream_id in seen:
            raise SourceError(
                f"{seen[stream.stream_id]} and {stream.origin} have the same stream id; rename one, or publish them one by "
                "one with a --stream-id each"
            )
        seen[stream.stream_id] = stream.origin
