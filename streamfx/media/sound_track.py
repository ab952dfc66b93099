"""Which of several sound tracks is heard: one rule for files, third parties' chunks and live inputs."""

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
"""Sound tracks that are looked at; a container may announce more than anybody would want to decode."""
LOOK_S = 60.0
"""Seconds of a file's sound track in which it must be heard to count as one with sound."""
# Meant to be heard beside or in place of the sound of the scene.
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
    """The sound tracks that may be heard, the preferred first; empty where FFmpeg can decode none.

    `streams` are a container's sound tracks. With a number, it is that track alone; a container with one sound track has
    nothing to choose from, and one without that number is taken by `auto`, with a warning. With `auto` the tracks marked
    default come first, then the others, then commentary and what is made for the hard of hearing or of sight; in each the
    container's order. In MP4 and QuickTime every enabled track is marked default, in Matroska each that does not deny it,
    in MPEG-TS none: so the mark orders, and `pick_sound` decides.
    """
    if wanted != "auto" and len(streams) > 1:
        if wanted < len(streams) and streams[wanted].codec_context is not None:
            return [streams[wanted]]
        log.warning(
            "sound track %d was asked for and cannot be decoded or is not there (%d sound tracks, counted from 0); the track "
            "is chosen as by `auto`",
            wanted,
            len(streams),
        )
    known = [stream for stream in streams if stream.codec_context is not None]
    return sorted(known, key=_rank)[:MAX_TRACKS]


def pick_sound(tracks: Sequence[_Track], blocks_of: Callable[[_Track], Iterable[npt.NDArray[Any]]]) -> _Track | None:
    """The first of `tracks` (in order of preference) with sound; else the first with samples; None where none has any.

    `blocks_of` decodes a bounded stretch of a track, and is asked only where there is a choice. A track that cannot be
    decoded is passed over. Sound is anything louder than digital silence.
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
    """A chosen track in words for a log, without its title or language."""
    number = sorted(one.index for one in streams).index(stream.index)
    context = stream.codec_context
    mark = "marked default" if stream.disposition & Disposition.default else "not marked default"
    return f"track {number} of {len(streams)} ({mark}, {context.sample_rate} Hz, {context.layout.nb_channels} channels)"


def _rank(stream: Any) -> int:
    if stream.disposition & _SPECIAL:
        return 2
    return 0 if stream.disposition & Disposition.default else 1
