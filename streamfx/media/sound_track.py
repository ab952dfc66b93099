"""Chooses one of several sound tracks, by one rule for files, chunks from third parties and live inputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from streamfx.media.sound import SILENT, to_float32

log = logging.getLogger(__name__)

SoundChoice = Literal["auto"] | int
"""`auto`, or the number of a sound track, counted from 0 among the container's sound tracks."""
MAX_TRACKS = 8
"""Most sound tracks that are considered; a container may declare more than should be decoded."""
LOOK_S = 60.0
"""A file's sound track counts as silent if there is no sound in its first LOOK_S seconds."""
# Tracks that accompany or replace the sound of the scene.
_SPECIAL = (
    Disposition.comment
    | Disposition.visual_impaired
    | Disposition.hearing_impaired
    | Disposition.karaoke
    | Disposition.lyrics
    | Disposition.clean_effects
    | Disposition.dependent
    | Disposition.descriptions
)
_Track = TypeVar("_Track")


def sound_tracks(streams: Sequence[Any], wanted: SoundChoice = "auto") -> list[Any]:
    """The candidate sound tracks, the preferred one first; empty if FFmpeg can decode none.

    `streams` are a container's sound tracks. If `wanted` is a number, only the track with that number is returned. A
    container with one sound track offers no choice, so the number is ignored; if there is no such track, `auto` is
    used and a warning is logged. With `auto` the tracks marked default come first, then the others, then commentary
    and tracks for people who are hard of hearing or visually impaired; within each group the container's order is
    kept. MP4 and QuickTime mark every enabled track as default, Matroska each track that does not say otherwise, and
    MPEG-TS none. So the mark only determines the order, and `pick_sound` decides.
    """
    if wanted != "auto" and len(streams) > 1:
        if wanted < len(streams) and streams[wanted].codec_context is not None:
            return [streams[wanted]]
        log.warning(
            "sound track %d was requested, but it does not exist or cannot be decoded (there are %d sound tracks, "
            "counted from 0); the track is chosen as with `auto`",
            wanted,
            len(streams),
        )
    known = [stream for stream in streams if stream.codec_context is not None]
    return sorted(known, key=_rank)[:MAX_TRACKS]


def pick_sound(tracks: Sequence[_Track], blocks_of: Callable[[_Track], Iterable[npt.NDArray[Any]]]) -> _Track | None:
    """The first of `tracks` (in order of preference) with sound, else the first with samples, else None.

    `blocks_of` decodes the beginning of a track; it is called only if there is more than one. A track that cannot be
    decoded is skipped. Sound is anything louder than digital silence.
    """
    if len(tracks) == 1:
        return tracks[0]
    silent: list[_Track] = []
    for track in tracks:
        decoded = False
        try:
            for block in blocks_of(track):
                decoded = decoded or block.size > 0
                if not is_silent(block):
                    return track
        except (av.FFmpegError, ValueError):
            continue
        if decoded:
            silent.append(track)
    return silent[0] if silent else None


def is_silent(samples: npt.NDArray[Any]) -> bool:
    """Whether samples of any number format are digital silence."""
    return samples.size == 0 or float(np.abs(to_float32(samples)).max()) < SILENT


def described(stream: Any, streams: Sequence[Any]) -> str:
    """A description of a chosen track for the log, without its title or language."""
    number = sorted(one.index for one in streams).index(stream.index)
    context = stream.codec_context
    mark = "marked default" if stream.disposition & Disposition.default else "not marked default"
    return f"track {number} of {len(streams)} ({mark}, {context.sample_rate} Hz, {context.layout.nb_channels} channels)"


def _rank(stream: Any) -> int:
    if stream.disposition & _SPECIAL:
        return 2
    return 0 if stream.disposition & Disposition.default else 1
