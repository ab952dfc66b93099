"""Chooses one of a container's video tracks, by one rule for files, chunks from third parties and live inputs."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Literal

log = logging.getLogger(__name__)

VideoTrack = int | Literal["auto"]
"""`auto`, or a track's number among the container's video tracks, counted from 0 without attached pictures."""


def pick_video(container: Any, wanted: VideoTrack = "auto", of: str = "") -> Any | None:
    """The video track to use, or None if there is no video track, or none with the number `wanted`.

    Of the tracks that FFmpeg can decode, `auto` uses the one that is marked default. If several are marked (MP4 marks
    every enabled track, Matroska each track that does not say otherwise) or none is (MPEG-TS), it uses the one with
    the largest picture, and the first of equal ones. Cover pictures and thumbnails are never used. A track that cannot
    be decoded (its `codec_context` is None) is used only if there is no other. A single track is used whatever
    `wanted` is, so that a number that is right for a file is also right for the chunks cut from it. A choice is logged
    once; that line begins with `of`, which names the file where it may be named.
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
        _log_once(of, tracks.index(chosen), tuple(_described(track) for track in tracks))
    return chosen


def _is_attached(stream: Any) -> bool:
    kinds = stream.disposition
    return bool(kinds & (kinds.attached_pic | kinds.timed_thumbnails))


def _pixels(track: Any) -> int:
    context = track.codec_context
    return context.width * context.height if context is not None else 0


def _described(track: Any) -> str:
    context = track.codec_context
    return "unknown codec" if context is None else f"{context.width}x{context.height} {context.codec.canonical_name}"


@lru_cache(maxsize=1024)
def _log_once(of: str, number: int, descriptions: tuple[str, ...]) -> None:
    """Log a choice once and not for each chunk, because all chunks of a stream have the same tracks."""
    tracks = ", ".join(f"{i}: {description}" for i, description in enumerate(descriptions))
    log.info(
        "%s%d video tracks (%s): track %d is used; `media.video_track` (--video-track) chooses another",
        of, len(descriptions), tracks, number,
    )  # fmt: skip
