"""Cuts any video FFmpeg can read into chunks: fragmented MP4, each starting on a keyframe, on one clock for the stream.

Where keyframes are frequent enough the pictures are taken over as they are; else the video is encoded once more (H.264,
a keyframe at each border, no B-frames). The sound is decoded once from end to end and stored losslessly (FLAC, 16 bits,
up to 8 channels), each chunk with exactly its own samples: codecs like AAC decode differently when started in the middle,
even with pre-roll, because their noise substitution depends on all that went before. So sound has no seams, whatever the
chunks' length.

Pictures shown before a keyframe but stored after it (open groups) go into both chunks: with the keyframe at the end of
the chunk that shows them, and unused after the keyframe in the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import av

from streamfx.errors import SourceError
from streamfx.media.chunk_writer import CLOCK_START_US, CONTENT_TYPE, Group, write_chunk
from streamfx.media.copy_groups import copied_groups
from streamfx.media.cut_sound import SoundTrack, sound_frames
from streamfx.media.encode import encoded_groups, pictures_shown
from streamfx.media.sound_track import SoundChoice
from streamfx.media.video_file import (
    VideoPlan,
    default_start_us,
    duration_s,
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


def cut_video(
    path: Path, chunk_s: float, start_us: int | None = None, sound_track: SoundChoice = "auto"
) -> Iterator[CutChunk]:
    """Yield a video's chunks in order, holding no more than one or two at a time; the same file gives the same chunks.

    `chunk_s` is the nominal length in seconds: chunk k begins at the first keyframe at or after k * chunk_s.
    `start_us` is the UTC time of the first frame in microseconds, default `default_start_us`. `sound_track` is the sound
    track that is kept, as `media/sound_track.py` says. Raises SourceError for a file that is no video, has no video track, or
    breaks off while it is read.
    """
    if chunk_s <= 0:
        raise SourceError(f"chunks must be longer than 0 s, got {chunk_s}")
    chunk_us = round(chunk_s * MICROSECONDS)
    plan = plan_cuts(path, chunk_us)
    origin_us = (default_start_us(path) if start_us is None else start_us) - CLOCK_START_US
    shift_us = CLOCK_START_US - plan.first_us
    sound = SoundTrack(sound_frames(path, sound_track), shift_us)
    for seq, group in enumerate(_groups(path, chunk_us, shift_us, plan)):
        try:
            body = write_chunk(group, sound.piece(group.start_us, group.end_us))
        except av.FFmpegError as error:
            raise SourceError(f"{path}: chunk {seq} cannot be written as MP4: {error.strerror}") from error
        duration_us = group.end_us - group.start_us
        yield CutChunk(seq, origin_us + group.start_us, duration_us, body, CONTENT_TYPE, group.last)


def _groups(path: Path, chunk_us: int, shift_us: int, plan: VideoPlan) -> Iterator[Group]:
    with open_video(path) as container:
        video = video_of(container, path)
        end_us = plan.end_us + shift_us
        if plan.remux:
            yield from copied_groups(container.demux(video), video, chunk_us, shift_us, end_us)
            return
        frames = pictures_shown(container.demux(video), video)
        first = next(frames, None)
        if first is None:
            raise SourceError(f"{path}: no frame of the video track can be decoded")
        yield from encoded_groups(chain([first], frames), chunk_us, shift_us, end_us)
