"""Opens a chunk and validates it: its packets, the time of every frame, and the reason if it cannot be used.

These are the reasons of BadChunk as they stand in the `chunks` table (fate `undecodable`). They do not change:

empty            the body has no bytes
not_media        the body is not an accepted container (MP4, MPEG-TS, MPEG-PS, Matroska/WebM)
truncated        the body ends before the end that its boxes or packets declare
corrupt          boxes, packets or pictures contradict themselves, or unpack to far more than the body's size; of pictures
                 those count that the sampled frames need, since no others are decoded
no_video         there is no video track, none with the number `media.video_track`, or it contains no picture
unknown_codec    the video codec is not one of VIDEO_CODECS
no_keyframe      the first picture cannot be decoded by itself
no_timestamps    there are pictures without a presentation time
too_large        a frame exceeds `media.max_pixels`, the sampled ones MAX_SEGMENT_BYTES, or all MAX_CHUNK_PIXELS
too_long         the media last longer than `media.max_chunk_s`
too_many_frames  there are more than MAX_FPS frames per second
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media.mp4_boxes import check_mp4, is_mp4
from streamfx.media.pixel_aspect import PixelAspect
from streamfx.media.sampling import shown_us
from streamfx.media.sound_track import sound_tracks
from streamfx.media.tracks import pick_video
from streamfx.records import MICROSECONDS

MAX_FPS = 240
"""Frames per second of media above which a chunk is treated as an attack on decoding time."""
MAX_SOUND_PACKETS_PER_S = 2_000
"""Sound packets per second of `max_chunk_s` above which the sound is treated as broken."""
MAX_SEGMENT_BYTES = 2 << 30
"""Most RGB bytes that one chunk's sampled frames may occupy."""
MAX_CHUNK_PIXELS = 1 << 34
"""Most pixels in all frames of a chunk, sampled or not: 17 billion, which is half a minute of 4K at 60 frames a
second. It bounds decoding time by what the chunk declares and not by a clock, so that a replay decides as the first
run did."""
PACKETS_PER_BYTE, PACKETS_GRACE = 2, 1 << 20
"""All packets together may have PACKETS_PER_BYTE bytes for each byte of the body, plus PACKETS_GRACE bytes. Tables may
point to the same bytes for every picture, and blocks may be deflated, so a small body could otherwise fill the
memory."""
VIDEO_CODECS = frozenset(
    ("h264", "hevc", "vvc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "h263", "mjpeg", "theora")
)
"""The codecs that cameras and streams send. FFmpeg knows hundreds more, many of them slow or rarely maintained, and
the sender of a chunk must not be able to choose among those."""

_TS_PACKET = 188
# Playlists and image sequences are left out because those formats open other files and addresses.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,mpegts,mpeg,matroska,webm"


@dataclass(slots=True)
class ChunkMedia:
    """An open chunk. Its frames are those shown from the first keyframe on, in presentation order.

    `pts` are their presentation times in units of `time_base`, ascending; `times_us` are the same times in
    microseconds since the first frame, and `durations_us` says how long each frame is shown. `first_us` is the first
    frame's time on the container's clock. `video_packets` holds all pictures in decoding order, including those shown
    before the keyframe. `video` is the track that `pick_video` chooses, `video_tracks` the number of video tracks in
    the container, and `aspect` the shape of the track's pixels. `sounds` are the candidate sound tracks, the preferred
    one first, each with its packets.
    """

    body: bytes
    is_mp4: bool
    video: Any
    video_tracks: int
    aspect: PixelAspect
    video_packets: list[Any]
    sounds: list[tuple[Any, list[Any]]]
    time_base: Fraction
    pts: list[int]
    times_us: list[int]
    durations_us: list[int]
    first_us: int

    @property
    def end_us(self) -> int:
        """End of the last frame, microseconds since the first frame."""
        return self.times_us[-1] + self.durations_us[-1]


@contextmanager
def open_chunk(body: bytes, media: Media) -> Iterator[ChunkMedia]:
    """Open a chunk's body and read all its packets, without decoding them. Raises BadChunk for every bad input."""
    if not body:
        raise BadChunk("empty", "expected a media chunk, got a body of 0 bytes")
    if is_mp4(body):
        check_mp4(body)
    elif body[:1] == body[_TS_PACKET : _TS_PACKET + 1] == b"\x47" and len(body) % _TS_PACKET:
        raise BadChunk("truncated", f"the last MPEG-TS packet has {len(body) % _TS_PACKET} of {_TS_PACKET} bytes")
    with _container(body, media) as container:
        video = _video_stream(container, media)
        tracks = sound_tracks(container.streams.audio, media.sound_track)
        video_packets, sound_packets = _packets(container, video, tracks, media, len(body))
        sounds = [(track, sound_packets[track.index]) for track in tracks]
        yield _timed(body, video, len(container.streams.video), video_packets, sounds, media)


@contextmanager
def _container(body: bytes, media: Media) -> Iterator[Any]:
    limits = {"format_whitelist": _FORMATS, "max_pixels": ffmpeg_pixels(media), "max_streams": "32"}
    try:
        container = av.open(io.BytesIO(body), options=limits, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        if is_mp4(body):
            raise BadChunk("corrupt", f"the MP4 boxes cannot be read: {_brief(error)}") from error
        raise BadChunk("not_media", f"expected MP4, MPEG-TS, MPEG-PS or Matroska: {_brief(error)}") from error
    with container:
        yield container


def _video_stream(container: Any, media: Media) -> Any:
    video = pick_video(container, media.video_track)
    if video is None:
        expected = "a video track" if media.video_track == "auto" else f"video track {media.video_track}"
        raise BadChunk("no_video", f"expected {expected}, got {[s.type for s in container.streams]}")
    if video.codec_context is None:
        raise BadChunk("unknown_codec", "FFmpeg does not know the video track's codec")
    name = video.codec_context.codec.canonical_name
    if name not in VIDEO_CODECS:
        raise BadChunk("unknown_codec", f"expected one of the codecs {', '.join(sorted(VIDEO_CODECS))}, got {name}")
    check_size(video.codec_context.width, video.codec_context.height, media)
    return video


def ffmpeg_pixels(media: Media) -> str:
    """The value of FFmpeg's option `max_pixels`, with room for padding, which it counts. `check_size` is exact."""
    return str(media.max_pixels * 5 // 4 + 16_384)


def check_size(width: int, height: int, media: Media) -> None:
    """Raise BadChunk `too_large` for a frame of more than `media.max_pixels`."""
    if width * height > media.max_pixels:
        raise BadChunk("too_large", f"a frame has {width}x{height} pixels; `media.max_pixels` is {media.max_pixels}")


def _packets(
    container: Any, video: Any, tracks: list[Any], media: Media, body_bytes: int
) -> tuple[list[Any], dict[int, list[Any]]]:
    """The packets of the video track, and those of each sound track by the track's index."""
    pictures: list[Any] = []
    sounds: dict[int, list[Any]] = {track.index: [] for track in tracks}
    streams = [video, *tracks]
    room = PACKETS_PER_BYTE * body_bytes + PACKETS_GRACE
    try:
        for packet in container.demux(*streams):
            if packet.size == 0:
                continue
            if packet.stream_index == video.index:
                pictures.append(packet)
            else:
                sounds[packet.stream_index].append(packet)
            room -= packet.size
            if room < 0:
                raise BadChunk("corrupt", f"the body has {body_bytes} bytes, but its packets add up to far more")
            if len(pictures) > MAX_FPS * media.max_chunk_s:
                raise BadChunk("too_many_frames", f"more than {MAX_FPS} frames a second for `media.max_chunk_s`")
            if sum(map(len, sounds.values())) > MAX_SOUND_PACKETS_PER_S * media.max_chunk_s:
                raise BadChunk("too_many_frames", "more sound packets than `media.max_chunk_s` can hold")
    except IndexError as error:
        # PyAV raises this for a packet of a track that the container did not declare.
        raise BadChunk("corrupt", "a packet belongs to a track that does not exist") from error
    except av.FFmpegError as error:
        raise BadChunk("truncated", f"the container ends early or is damaged: {_brief(error)}") from error
    return pictures, sounds


def _timed(
    body: bytes,
    video: Any,
    video_tracks: int,
    pictures: list[Any],
    sounds: list[tuple[Any, list[Any]]],
    media: Media,
) -> ChunkMedia:
    if not pictures:
        raise BadChunk("no_video", "the video track contains no picture")
    if any(packet.is_corrupt for packet in pictures):
        raise BadChunk("truncated", "a picture is cut short")
    if not pictures[0].is_keyframe:
        raise BadChunk("no_keyframe", "expected the first picture to be a keyframe; cut chunks at keyframes")
    if any(packet.pts is None for packet in pictures):
        raise BadChunk("no_timestamps", "expected a presentation time on every picture")
    time_base: Fraction = pictures[0].time_base
    visible = [packet for packet in pictures if not packet.is_discard]
    if not visible:
        raise BadChunk("no_video", "the container's edit list hides every picture")
    first = max(pictures[0].pts, min(packet.pts for packet in visible))
    shown = {packet.pts: packet.duration or 0 for packet in visible if packet.pts >= first}
    if not shown:
        raise BadChunk("no_timestamps", "every visible picture is presented before the first keyframe")
    pts = sorted(shown)

    scale, per = time_base.numerator * MICROSECONDS, time_base.denominator

    def microseconds(ticks: int) -> int:
        """Rounded as `round` does it, half to even, but without a fraction for every frame."""
        whole, rest = divmod(ticks * scale, per)
        return whole + (2 * rest > per or (2 * rest == per and whole % 2 == 1))

    times_us = [microseconds(ticks) - microseconds(first) for ticks in pts]
    nominal = round(MICROSECONDS / video.average_rate) if video.average_rate else 0
    last_us = microseconds(shown[pts[-1]]) or nominal or (times_us[-1] - times_us[-2] if len(pts) > 1 else 0)
    length_s = times_us[-1] / MICROSECONDS
    if length_s > media.max_chunk_s:
        raise BadChunk("too_long", f"the media last {length_s:.1f} s; `media.max_chunk_s` is {media.max_chunk_s}")
    if len(pictures) > MAX_FPS * (length_s + 1):
        raise BadChunk("too_many_frames", f"{len(pictures)} frames in {length_s:.1f} s")
    pixels = len(pictures) * video.codec_context.width * video.codec_context.height
    if pixels > MAX_CHUNK_PIXELS:
        raise BadChunk("too_large", f"{pixels} pixels in {len(pictures)} frames, the limit is {MAX_CHUNK_PIXELS}")
    return ChunkMedia(
        body=body,
        is_mp4=is_mp4(body),
        video=video,
        video_tracks=video_tracks,
        aspect=PixelAspect(video),
        video_packets=pictures,
        sounds=sounds,
        time_base=time_base,
        pts=pts,
        times_us=times_us,
        durations_us=shown_us(times_us, last_us),
        first_us=microseconds(first),
    )


def _brief(error: Exception) -> str:
    """FFmpeg's message without the file name that it makes up for data in memory."""
    return str(getattr(error, "strerror", None) or error)
