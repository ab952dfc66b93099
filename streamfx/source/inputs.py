"""The streams in what a user names: video files, folders of them, and folders of chunks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from streamfx.errors import ConfigError, SourceError
from streamfx.media.cut import check_pictures, duration_s
from streamfx.media.sound_track import SoundChoice
from streamfx.media.tracks import VideoTrack
from streamfx.shipped import shipped_clip
from streamfx.source.chunk import Consent
from streamfx.source.folders import Found, sort_out
from streamfx.source.streams import FolderStream, Stream, UnusableFile, VideoStream, as_text, check_stream_id

_MOST_NAMED = 10


def find_streams(
    inputs: Iterable[Path],
    chunk_s: float,
    start_us: int | None = None,
    stream_id: str | None = None,
    consent: Consent | None = None,
    track: VideoTrack = "auto",
    sound_track: SoundChoice = "auto",
    longest_s: float = 0.0,
) -> list[Stream]:
    """The streams in video files, in folders of videos, and in folders of chunks.

    A video's stream id is its file name without the suffix, or `stream_id` if there is only one video. `start_us` (UTC
    of the first frame), `consent`, `track` (the video track, as `pick_video` counts), `sound_track` and `longest_s` (see
    `plan_cuts`) apply to all videos. A file in a folder that cannot be read becomes an `UnusableFile`. Raises SourceError
    for a named input that is missing or cannot be read, for an empty folder, and for a duplicate stream id, and
    ConfigError for settings that do not apply to chunks that were cut before.
    """
    found: list[Found] = []
    for path in inputs:
        found += sort_out(shipped_clip(path))
    folders = [item.path for item in found if item.chunks]
    if folders and (stream_id is not None or consent is not None or start_us is not None):
        raise ConfigError(
            f"{folders[0]} contains chunks, whose headers set stream id, start and consent; leave these settings out"
        )
    videos = len(found) - len(folders)
    if stream_id is not None and videos != 1:
        raise ConfigError(f"a stream id can be given to only one video, and there are {videos}")
    streams = [_opened(item, chunk_s, start_us, stream_id, consent, track, sound_track, longest_s) for item in found]
    _check_unique([stream for stream in streams if stream.usable])
    return streams


def _opened(
    item: Found,
    chunk_s: float,
    start_us: int | None,
    stream_id: str | None,
    consent: Consent | None,
    track: VideoTrack,
    sound_track: SoundChoice,
    longest_s: float,
) -> Stream:
    path, reason, detail = item.path, "file_unreadable", "the file cannot be read"
    try:
        if item.chunks:
            return FolderStream(path)
        _check_regular(path)
        reason, detail = "file_no_video", "the file is not a video that can be decoded"
        name = as_text(path.stem) if stream_id is None else stream_id
        check_stream_id(name, path)
        check_pictures(path, track)
        length_s = duration_s(path, track)
        reason, detail = "file_start", "neither time of the file can be the time at which it was filmed"
        return VideoStream(path, name, chunk_s, start_us, consent, length_s, track, sound_track, longest_s)
    except SourceError as error:
        if item.named:
            raise
        return UnusableFile(path, reason, detail, str(error))


def _check_regular(path: Path) -> None:
    """Raise SourceError for a file that cannot be read repeatedly: a pipe, an empty file, a broken link."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        if os.path.isdir(path):
            raise SourceError(f"{path}: expected a video file, got a folder without chunks") from error
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{path} is a pipe or a device; expected a video file, which can be read more than once")
    if not status.st_size:
        raise SourceError(f"{path} is empty; expected a video file")


def _check_unique(streams: Sequence[Stream]) -> None:
    seen: dict[str, Path] = {}
    twice = []
    for stream in streams:
        if seen.get(stream.stream_id) == stream.origin:
            raise SourceError(f"{stream.origin} is named twice; name it once")
        if stream.stream_id in seen:
            twice.append(f"{seen[stream.stream_id]} and {stream.origin} have the same stream id")
        seen.setdefault(stream.stream_id, stream.origin)
    if twice:
        more = f"; and {len(twice) - _MOST_NAMED} more pairs" if len(twice) > _MOST_NAMED else ""
        raise SourceError(
            f"{'; '.join(twice[:_MOST_NAMED])}{more}; a video's stream id is its file name without the suffix: rename "
            "one of the two, or publish each separately with its own --stream-id"
        )
