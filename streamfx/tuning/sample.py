"""The sample of a trial: chunks in a folder, cut once, long enough to measure and short enough to repeat."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import av

from streamfx.errors import SourceError
from streamfx.media.sound_track import SoundChoice
from streamfx.media.tracks import VideoTrack
from streamfx.records import MICROSECONDS
from streamfx.source.chunk import END, SEQ, START_US
from streamfx.source.inputs import find_streams
from streamfx.source.publish import FolderDestination
from streamfx.source.streams import Stream, StreamChunk

SAMPLE_S = 24.0
"""Approximate length of a sample in seconds: a longer video is used up to here, and a shorter one is repeated."""
MAX_CHUNKS = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """Folders of chunks under `folder`, with their number, their bytes and the pixels of a picture. Under `warm` is one
    chunk, a whole stream of its own, for work that a process does only once."""

    folder: Path
    warm: Path
    chunks: int
    media_bytes: int
    pixels: float = 0.0


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a camera sends: pixels of a picture, and bits a second of its chunks, sound included; None if unknown."""

    pixels: float | None = None
    bits_per_s: float | None = None


def look_at(inputs: Sequence[Path], chunk_s: float = 2.0) -> Pictures:
    """The means of pixels and bits over the first `SAMPLE_S` seconds of videos or folders of chunks.

    Raises SourceError for input that cannot be read or holds no media.
    """
    streams = find_streams(inputs, chunk_s)
    media_bytes = media_us = 0
    pixels = []
    for stream in streams:
        taken = list(_looped(stream, SAMPLE_S / len(streams), MAX_CHUNKS))
        media_bytes += sum(len(chunk.body) for chunk in taken)
        media_us += sum(chunk.end_us - chunk.start_us for chunk in taken)
        pixels += [pixels_of(chunk.body) for chunk in taken[:1]]
    if not media_bytes or media_us <= 0:
        raise SourceError(f"the sample {', '.join(map(str, inputs))} holds no media; give a video of some seconds")
    return Pictures(sum(pixels) / len(pixels), media_bytes * 8 * MICROSECONDS / media_us)


def pixels_of(body: bytes) -> float:
    """Pixels of a chunk's picture according to its container; 0 where it cannot be read."""
    try:
        with av.open(io.BytesIO(body)) as container:
            video = container.streams.video[0]
            return float(video.width * video.height)
    except (av.FFmpegError, IndexError, ValueError):
        return 0.0


def cut_sample(
    inputs: Sequence[Path], chunk_s: float, folder: Path, track: VideoTrack = "auto", sound_track: SoundChoice = "auto"
) -> Sample:
    """Cut videos into chunks of `chunk_s` seconds, or take folders of chunks as they are, and write them under
    `folder`.

    `track` and `sound_track` choose the tracks of each video, numbered as by `pick_video` and `sound_tracks`. Raises
    SourceError for input that cannot be read.
    """
    streams = [
        stream for stream in find_streams(inputs, chunk_s, track=track, sound_track=sound_track) if stream.usable
    ]
    destination, warm = FolderDestination(folder / "sample"), FolderDestination(folder / "warm")
    chunks = media_bytes = 0
    pixels: list[float] = []
    for stream in streams:
        destination.open(stream.stream_id)
        for chunk in _looped(stream, SAMPLE_S / len(streams), max(1, MAX_CHUNKS // len(streams))):
            destination.put(stream.stream_id, chunk)
            if chunk.seq == 0:
                pixels.append(pixels_of(chunk.body))
            if not chunks:
                warm.open(stream.stream_id)
                warm.put(stream.stream_id, _moved(chunk, 0, 0, True))
            chunks += 1
            media_bytes += len(chunk.body)
    if not media_bytes:
        raise SourceError(f"the sample {', '.join(map(str, inputs))} holds no media; give a video of some seconds")
    return Sample(folder / "sample", folder / "warm", chunks, media_bytes, sum(pixels) / len(pixels))


def _looped(stream: Stream, length_s: float, most: int) -> Iterator[StreamChunk]:
    """The stream's first chunks, repeated up to a length of `length_s` seconds as one stream with one end."""
    taken: list[StreamChunk] = []
    for chunk in islice((chunk for chunk in stream.chunks() if chunk.fault is None), most):
        taken.append(chunk)
        if chunk.end_us - taken[0].start_us >= length_s * MICROSECONDS:
            break
    if not taken:
        return
    # In a folder of chunks the end of the last one is unknown; it is assumed to be as long as the one before.
    last = (
        taken[-1].end_us if taken[-1].end_us > taken[-1].start_us else 2 * taken[-1].start_us - taken[-2:][0].start_us
    )
    round_us = max(last - taken[0].start_us, 1)
    times = max(1, min(round(length_s * MICROSECONDS / round_us), most // len(taken)))
    for again in range(times):
        for index, chunk in enumerate(taken):
            is_last = again == times - 1 and index == len(taken) - 1
            yield _moved(chunk, again * len(taken) + index, again * round_us, is_last)


def _moved(chunk: StreamChunk, seq: int, by_us: int, is_last: bool) -> StreamChunk:
    """The chunk with another number and a later time; only the last one has the end mark."""
    start_us = chunk.start_us + by_us
    changed = {SEQ: str(seq).encode(), START_US: str(start_us).encode()}
    headers = [(name, changed.get(name, value)) for name, value in chunk.headers if name != END]
    if is_last:
        headers.append((END, b"1"))
    return replace(chunk, seq=seq, start_us=start_us, end_us=chunk.end_us + by_us, headers=tuple(headers))
