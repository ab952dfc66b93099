"""From a chunk's bytes to a Segment: sampled RGB frames on event time, and the mono waveform.

Every backend sits behind the same small face, `Pictures`; times, sampling, sound and the judgement of bad input are the
same for all of them. The waveform is channel 0 of the sound, as the authors of the models feed it, and not a mix.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt
import torch

from streamfx.config import Media
from streamfx.errors import BadChunk
from streamfx.media.chunk_media import MAX_SEGMENT_BYTES, ChunkMedia, open_chunk
from streamfx.media.pixel_aspect import shown_size
from streamfx.media.pyav_decoder import PyavPictures
from streamfx.media.sampling import choose
from streamfx.media.sound import SampleCounter, at_rate, join, raw_samples, to_float32
from streamfx.records import MICROSECONDS, Frame, Segment, Sound

SOUND_RATES_HZ = range(2_000, 768_001)
"""Rates of sound that is believed. Others are lies that would ask for gigabytes of silence, or for bands above no sound."""


class Decoder(Protocol):
    """Decodes chunks; keeps no state between them and may be called from several threads."""

    def decode(self, body: bytes, start_us: int) -> Segment:
        """The segment of one chunk whose first shown frame is at event time `start_us`. Raises BadChunk."""


class Pictures(Protocol):
    """A backend: makes RGB pictures of chosen frames."""

    def pictures(
        self, chunk: ChunkMedia, wanted: Sequence[int], media: Media
    ) -> Sequence[npt.NDArray[np.uint8] | torch.Tensor]:
        """uint8 RGB [H, W, 3], as `Screen` shows them, of the frames with these indices into `chunk.pts`.

        Raises BadChunk.
        """


def open_decoder(media: Media) -> Decoder:
    """The decoder that the configuration asks for. Raises MissingComponent where the machine does not have it."""
    return ChunkDecoder(media, _backend(chosen_backend(media.backend)))


def decode(body: bytes, start_us: int, media: Media) -> Segment:
    """Decode one chunk with a decoder made for it alone; see `open_decoder` for many."""
    return open_decoder(media).decode(body, start_us)


def chosen_backend(backend: str) -> str:
    """`auto` resolved to `gpu` where there are a CUDA device and PyNvVideoCodec, else to `pyav`."""
    if backend != "auto":
        return backend
    has_decoder = torch.cuda.is_available() and importlib.util.find_spec("PyNvVideoCodec") is not None
    return "gpu" if has_decoder else "pyav"


class ChunkDecoder:
    """A Decoder over one backend."""

    def __init__(self, media: Media, backend: Pictures):
        self._media = media
        self._backend = backend

    def decode(self, body: bytes, start_us: int) -> Segment:
        """The segment of one chunk whose first shown frame is at event time `start_us` (UTC microseconds).

        Only frames that cover a point of the sampling grid become RGB. A chunk without a sound track, or with one that
        cannot be decoded, has `sound` None. Raises BadChunk with a reason from `chunk_media`.
        """
        with open_chunk(body, self._media) as chunk:
            times_us = [start_us + time_us for time_us in chunk.times_us]
            chosen = list(choose(times_us, chunk.durations_us, self._media.sample_period_us))
            _check_memory(chunk, len(chosen), self._media)
            pictures = self._backend.pictures(chunk, [index for index, _ in chosen], self._media)
            frames = [
                Frame(times_us[index], chunk.durations_us[index], point, pixels)
                for (index, points), pixels in zip(chosen, pictures, strict=True)
                for point in points
            ]
            return Segment(
                start_us, start_us + chunk.end_us, frames, _sound(chunk, start_us, self._media), len(times_us)
            )


def _backend(name: str) -> Pictures:
    if name == "gpu":
        from streamfx.media.gpu_decoder import GpuPictures

        return GpuPictures()
    if name == "decord":
        from streamfx.media.decord_decoder import DecordPictures

        return DecordPictures()
    return PyavPictures()


def _check_memory(chunk: ChunkMedia, frames: int, media: Media) -> None:
    context = chunk.video.codec_context
    width, height = shown_size(context.width, context.height, chunk.aspect.now, media.max_pixels)
    needed = frames * width * height * 3
    if needed > MAX_SEGMENT_BYTES:
        detail = f"{frames} sampled frames of {width}x{height} fill {needed >> 20} MiB"
        raise BadChunk("too_large", f"{detail}, the limit is {MAX_SEGMENT_BYTES >> 20} MiB; publish shorter chunks")


def _sound(chunk: ChunkMedia, start_us: int, media: Media) -> Sound | None:
    """The chunk's sound from `start_us` on; None where there is none, or where it is broken: the frames still count."""
    if chunk.sound is None:
        return None
    try:
        rate, runs = _sound_runs(chunk, media)
    except (av.FFmpegError, ValueError):
        return None
    if not runs:
        return None
    first = max(min(number for number, _ in runs), -(-chunk.first_us * rate // MICROSECONDS))
    end = max(number + samples.size for number, samples in runs)
    if not 0 < end - first <= (media.max_chunk_s + 1) * rate:
        return None
    return Sound(start_us - chunk.first_us, first, rate, join(runs, first, end, np.float32))


def _sound_runs(chunk: ChunkMedia, media: Media) -> tuple[int, list[tuple[int, npt.NDArray[np.float32]]]]:
    """The rate (Hz) and numbered runs of channel 0. Raises ValueError for more sound than the chunk may hold."""
    assert chunk.sound is not None
    rate, total, counter = 0, 0, None
    runs: list[tuple[int, npt.NDArray[np.float32]]] = []
    for packet in [*chunk.sound_packets, None]:
        for frame in chunk.sound.codec_context.decode(packet):
            rate = rate or frame.sample_rate
            if rate not in SOUND_RATES_HZ:
                raise ValueError(f"{rate} samples a second")
            counter = counter or SampleCounter(rate)
            time_s = None if frame.pts is None else Fraction(frame.pts) * frame.time_base
            samples = np.concatenate([to_float32(raw_samples(piece)[0]) for piece in at_rate(frame, rate)])
            runs.append((counter.place(time_s, samples.size), samples))
            total += samples.size
            if total > (media.max_chunk_s + 1) * rate:
                raise ValueError("more samples than the chunk's length allows")
    return rate, runs
