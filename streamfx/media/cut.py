"""Cuts any video FFmpeg can read into chunks: fragmented MP4, each starting on a keyframe, on one clock for the stream.

Where keyframes are frequent enough the pictures are taken over as they are; else the video is encoded once more (H.264,
a keyframe at each border, no B-frames). The sound is decoded once from end to end and stored losslessly (FLAC, 16 bits),
each chunk with exactly its own samples: codecs like AAC decode differently when started in the middle, even with pre-roll,
because their noise substitution depends on all that went before. So sound has no seams, whatever the chunks' length.

Pictures shown before a keyframe but stored after it (open groups) go into both chunks: with the keyframe at the end of
the chunk that shows them, and unused after the keyframe in the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av

from streamfx.errors import SourceError
from streamfx.media.chunk_writer import CLOCK_START_US, CONTENT_TYPE, Group, Picture, write_chunk
from streamfx.media.cut_sound import SoundTrack
from streamfx.media.encode import encoded_groups
from streamfx.media.keyframes import is_random_access
from streamfx.media.video_file import (
    Borders,
    default_start_us,
    duration_s,
    microseconds,
    open_video,
    plan_cuts,
    video_of,
)
from streamfx.records import MICROSECONDS

__all__ = ["CutChunk", "cut_video", "default_start_us", "duration_s"]


@dataclass(frozen=True, slots=True)
class CutChunk:
    """One chunk of a video: its number from 0, the UTC time of its first frame, the time it shows, and its media.

    `end` marks the last chunk. `start_us` + `duration_us` is the next chunk's `start_us`.
    """

    seq: int
    start_us: int
    duration_us: int
    body: bytes = field(repr=False)
    content_type: str
    end: bool


def cut_video(path: Path, chunk_s: float, start_us: int | None = None) -> Iterator[CutChunk]:
    """Yield a video's chunks in order, holding no more than one or two at a time; the same file gives the same chunks.

    `chunk_s` is the nominal length in seconds: chunk k begins at the first keyframe at or after k * chunk_s.
    `start_us` is the UTC time of the first frame in microseconds, default `default_start_us`. Raises SourceError for a
    file that is no video, has no video track, or breaks off while it is read.
    """
    if chunk_s <= 0:
        raise SourceError(f"chunks must be longer than 0 s, got {chunk_s}")
    chunk_us = round(chunk_s * MICROSECONDS)
    plan = plan_cuts(path, chunk_us)
    origin_us = (default_start_us(path) if start_us is None else start_us) - CLOCK_START_US
    shift_us = CLOCK_START_US - plan.first_us
    sound = SoundTrack(path, shift_us)
    cut = _copied_groups if plan.remux else encoded_groups
    groups = cut(path, chunk_us, shift_us, plan.end_us + shift_us)
    for seq, group in enumerate(groups):
        try:
            body = write_chunk(group, sound.piece(group.start_us, group.end_us))
        except av.FFmpegError as error:
            raise SourceError(f"{path}: chunk {seq} cannot be written as MP4: {error.strerror}") from error
        duration_us = group.end_us - group.start_us
        yield CutChunk(seq, origin_us + group.start_us, duration_us, body, CONTENT_TYPE, group.last)


def _copied_groups(path: Path, chunk_us: int, shift_us: int, end_us: int) -> Iterator[Group]:
    """The file's own packets, grouped at keyframes; the last frame ends at `end_us`."""
    with open_video(path) as container:
        video = video_of(container, path)
        borders = Borders(CLOCK_START_US, chunk_us)
        before: Group | None = None
        pictures: list[Picture] = []
        start_us = CLOCK_START_US
        for packet in container.demux(video):
            is_keyframe = packet.is_keyframe and is_random_access(packet, video)
            if packet.size == 0 or not (pictures or is_keyframe):
                continue
            picture = Picture(packet, microseconds(packet.pts, packet.time_base) + shift_us)
            if before is not None:
                if picture.time_us < start_us:
                    if len(pictures) == 1:
                        before.pictures.append(pictures[0])
                    before.pictures.append(picture)
                else:
                    yield before
                    before = None
            if pictures and is_keyframe and borders.overshoot_us(picture.time_us) >= 0:
                borders.cut(picture.time_us)
                before = Group(video, pictures, start_us, picture.time_us, last=False)
                pictures, start_us = [], picture.time_us
            pictures.append(picture)
        if before is not None:
            yield before
        yield Group(video, pictures, start_us, end_us, last=True)
