"""Groups packets, without encoding them again, into chunks that start on a keyframe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streamfx.media.chunk_writer import CLOCK_START_US, Group, Picture
from streamfx.media.keyframes import is_random_access
from streamfx.media.video_file import Borders, microseconds


def copied_groups(
    packets: Iterable[Any], video: Any, chunk_us: int, shift_us: int, end_us: int | None = None
) -> Iterator[Group]:
    """Group a video track's packets, given in decoding order, at keyframes, and put them on the stream's clock.

    `shift_us` is added to each time. The last frame ends at `end_us`; without it, after the duration that its packet
    declares. Nothing is yielded where there is no keyframe.
    """
    borders = Borders(CLOCK_START_US, chunk_us)
    before: Group | None = None
    pictures: list[Picture] = []
    start_us = CLOCK_START_US
    for packet in packets:
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
    if pictures:
        yield Group(video, pictures, start_us, _end_us(pictures) if end_us is None else end_us, last=True)


def _end_us(pictures: list[Picture]) -> int:
    """The end of the last frame, by its packet's duration or else by the average duration of the frames before it."""
    last = max(pictures, key=lambda picture: picture.time_us)
    span_us = last.time_us - min(picture.time_us for picture in pictures)
    declared_us = microseconds(last.packet.duration or 0, last.packet.time_base)
    return last.time_us + (declared_us or max(1, span_us // max(1, len(pictures) - 1)))
