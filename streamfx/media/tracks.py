"""Which of a container's tracks is taken: one rule for video files, for chunks of third parties and for live inputs."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Literal

log = logging.getLogger(__name__)

VideoTrack = int | Literal["auto"]
"""A track's number among the container's video tracks, from 0, pictures attached to the sound or film not counted."""


def pick_video(container: Any, wanted: VideoTrack = "auto", of: str = "") -> Any | None:
    """The video track that is looked at, or None where there is none, or none with the number `wanted`.

    Of the tracks that FFmpeg can decode, `auto` takes the one that is marked default; where several are marked (MP4 marks
    each enabled track, Matroska each track that does not say otherwise) or none is (MPEG-TS), the one with the largest
    picture of those; of equals the first. Cover pictures and thumbnails are never taken. A track that cannot be decoded
    (its `codec_context` is None) is taken only where there is no other. Where there is just one track, it is taken
    whatever is wanted, so that a number which is right for a file is right for the chunks cut from it too. A choice is logged,
    once; `of` begins that line, and says of what file it is where that may be said.
    """
    tracks = [stream for stream in container.streams.video if not _is_attached(stream)]
    if len(tracks) <= 1:
        return next(iter(tracks), None)
    if wanted != "auto":
        chosen = tracks[wanted] if wanted < len(tracks) else None
    else:
        known = [track for track in tracks if track.codec_context is not None] or tracks
        marked = [track for track in known if track.disposition & track.disposition.default]
        chosen = max(marked or known, key=_pixels)
    if chosen is not None:
        _say_once(of, tracks.index(chosen), tuple(_look(track) for track in tracks))
    return chosen


def _is_attached(stream: Any) -> bool:
    kinds = stream.disposition
    return bool(kinds & (kinds.attached_pic | kinds.timed_thumbnails))


def _pixels(track: Any) -> int:
    context = track.codec_context
    return context.width * context.height if context is not None else 0


def _look(track: Any) -> str:
    context = track.codec_context
    return "unknown codec" if context is None else f"{context.width}x{context.height} {context.codec.canonical_name}"


@lru_cache(maxsize=1024)
def _say_once(of: str, number: int, looks: tuple[str, ...]) -> None:
    """Chunks of a stream all have the same tracks: the choice is worth one line, not one for each chunk."""
    others = ", ".join(f"{i}: {look}" for i, look in enumerate(looks))
    log.info(
        "%s%d video tracks (%s): track %d is taken; `media.video_track` (--video-track) chooses another",
        of, len(looks), others, number,
    )  # fmt: skip
