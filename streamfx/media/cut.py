"""Cuts any video that FFmpeg can read into chunks of fragmented MP4, which start on keyframes and share one clock.

Where keyframes are frequent enough, the pictures are copied without encoding them again. Otherwise the video is
encoded to H.264 with a keyframe at each border and without B-frames. The sound is decoded once from end to end and
stored losslessly (FLAC, 16 bits, up to 8 channels), and each chunk gets exactly its own samples. Codecs like AAC
decode differently when started in the middle, even with pre-roll, because their noise substitution depends on
everything before. So the sound has no seams, whatever the length of the chunks.

Pictures that are shown before a keyframe but stored after it (open GOPs) go into both chunks: together with the
keyframe at the end of the chunk that shows them, and unused after the keyframe in the next chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av

from streamfx.errors import SourceError
from streamfx.media.chunk_writer import CLOCK_START_US, CONTENT_TYPE, Group, write_chunk
from streamfx.media.copy_groups import copied_groups
from streamfx.media.cut_sound import SoundTrack, chosen_sound, sound_frames
from streamfx.media.encode import encoded_groups, pictures_shown
from streamfx.media.pixel_aspect import PixelAspect
from streamfx.media.sound_track import SoundChoice
from streamfx.media.stretches import Counted, SoundByRun, flush_of
from streamfx.media.tracks import VideoTrack
from streamfx.media.video_file import (
    Stretch,
    VideoPlan,
    check_pictures,
    default_start_us,
    duration_s,
    open_video,
    pictures_in,
    plan_cuts,
    video_of,
)
from streamfx.records import MICROSECONDS

__all__ = ["CutChunk", "check_pictures", "cut_video", "default_start_us", "duration_s", "plan_video"]


@dataclass(frozen=True, slots=True)
class CutChunk:
    """One chunk of a video: its number (from 0), the UTC time of its first frame, its duration, and its media.

    `end` is True for the last chunk and for each chunk after which the file's clock jumps back; no window continues
    across it. `start_us` + `duration_us` is the next chunk's `start_us`.
    """

    seq: int
    start_us: int
    duration_us: int
    body: bytes = field(repr=False)
    content_type: str
    end: bool


def plan_video(
    path: Path,
    chunk_s: float,
    track: VideoTrack = "auto",
    sound_track: SoundChoice = "auto",
    longest_s: float = 0.0,
) -> VideoPlan:
    """Read a video's packets once and decide how it is cut; `longest_s` as in `plan_cuts`.

    `track` is the number of the video track as `pick_video` counts, `sound_track` that of the sound track as
    `sound_tracks` counts. Raises SourceError for a file that is not a video.
    """
    if chunk_s <= 0:
        raise SourceError(f"chunks must be longer than 0 s, got {chunk_s}; set a larger chunk_s")
    return plan_cuts(path, round(chunk_s * MICROSECONDS), track, chosen_sound(path, sound_track), longest_s)


def cut_video(
    path: Path,
    chunk_s: float,
    start_us: int | None = None,
    plan: VideoPlan | None = None,
    track: VideoTrack = "auto",
    sound_track: SoundChoice = "auto",
) -> Iterator[CutChunk]:
    """Yield a video's chunks in order, holding no more than one or two at a time. The same file gives the same chunks.

    `chunk_s` is the nominal length in seconds: chunk k begins at the first keyframe at or after k * chunk_s.
    `start_us` is the UTC time of the first frame in microseconds, by default that of `default_start_us`. `plan` is the
    result of `plan_video` for this file, length and tracks. Where the file's clock jumps back, event time continues
    and a new stretch begins, which has its own clock inside the chunks. Raises SourceError for a file that is not a
    video, has no video track, or changes while it is read.
    """
    plan = plan or plan_video(path, chunk_s, track, sound_track)
    begin_us = default_start_us(path) if start_us is None else start_us
    sound_by_run = SoundByRun(sound_frames(path, plan.sound))
    seq = 0
    for stretch, groups in _stretches(path, round(chunk_s * MICROSECONDS), plan, track):
        shift_us = CLOCK_START_US - stretch.first_us
        sound = SoundTrack(sound_by_run.frames(stretch.runs), shift_us)
        group = None
        for group in groups:
            try:
                body = write_chunk(group, sound.piece(group.start_us, group.end_us))
            except av.FFmpegError as error:
                raise SourceError(f"{path}: chunk {seq} cannot be written as MP4: {error.strerror}") from error
            start = begin_us + group.start_us - CLOCK_START_US
            yield CutChunk(seq, start, group.end_us - group.start_us, body, CONTENT_TYPE, group.last)
            seq += 1
        if group is not None:
            begin_us += group.end_us - CLOCK_START_US


def _stretches(
    path: Path, chunk_us: int, plan: VideoPlan, track: VideoTrack
) -> Iterator[tuple[Stretch, Iterator[Group]]]:
    """Each stretch with its groups. The groups must be consumed before the next stretch is requested."""
    with open_video(path, track) as container:
        video = video_of(container, path, track)
        packets = pictures_in(container.demux(video), video)
        at = 0
        for stretch in plan.stretches:
            next(islice(packets, stretch.skipped - at, stretch.skipped - at), None)
            at = stretch.skipped + stretch.packets
            pictures = Counted(islice(packets, stretch.packets))
            yield stretch, _groups(pictures, video, path, chunk_us, stretch, plan.step_us)
            if pictures.taken < stretch.packets:
                raise SourceError(
                    f"{path} was changed while it was being read: expected {stretch.packets} pictures, as at first, "
                    f"got {pictures.taken}; start again when it no longer changes"
                )


def _groups(
    packets: Iterable[Any], video: Any, path: Path, chunk_us: int, stretch: Stretch, step_us: int | None
) -> Iterator[Group]:
    shift_us = CLOCK_START_US - stretch.first_us
    end_us = stretch.end_us + shift_us
    if stretch.remux:
        yield from copied_groups(packets, video, chunk_us, shift_us, end_us)
        return
    aspect = PixelAspect(video)
    frames = pictures_shown(chain(packets, flush_of(video)), video)
    first = next(frames, None)
    if first is None:
        raise SourceError(f"{path}: expected a video, but FFmpeg cannot decode any frame of its video track")
    yield from encoded_groups(chain([first], frames), aspect, chunk_us, shift_us, end_us, step_us or 1)
    # The decoder was flushed, so it must be reset before the next stretch.
    video.codec_context.flush_buffers()
