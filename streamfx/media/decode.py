"""From a chunk's bytes to a Segment: sampled RGB frames on event time, and the sound.

Every backend sits behind the same small face, `Pictures`; times, sampling, sound and the judgement of bad input are the
same for all of them. The sound comes with all its channels at its own rate; what a model hears of it is the windows' matter.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
import torch

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media.chunk_media import MAX_SEGMENT_BYTES, ChunkMedia, open_chunk
from streamfx.media.downmix import Gains, gains_of, widened
from streamfx.media.pixel_aspect import shown_size
from streamfx.media.pyav_decoder import PyavPictures
from streamfx.media.sampling import choose
from streamfx.media.sound import SampleCounter, at_rate, join, raw_samples, to_float32
from streamfx.media.sound_track import described, pick_sound
from streamfx.records import MICROSECONDS, Frame, Segment, Sound

log = logging.getLogger(__name__)

SOUND_RATES_HZ = range(2_000, 768_001)
"""Rates of sound that is believed. Others are lies that would ask for gigabytes of silence, or for bands above no sound."""
MAX_SOUND_BYTES = 512 << 20
"""Bytes that one sound track of a chunk may decode to, as float32: eight channels at 96 kHz for two minutes and more."""


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
        self._said: set[str] = set()

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
            sound = _sound(chunk, start_us, self._media, self._say)
            return Segment(start_us, start_us + chunk.end_us, frames, sound, len(times_us))

    def _say(self, choice: str) -> None:
        """Log which track is heard, once for each choice: chunks come by the thousand."""
        if choice not in self._said:
            self._said.add(choice)
            log.info("of the sound of chunks, %s is heard", choice)


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


def _sound(chunk: ChunkMedia, start_us: int, media: Media, say: Callable[[str], None]) -> Sound | None:
    """The chunk's sound from `start_us` on; None where there is none, or where it is broken: the frames still count."""
    decoded: dict[int, tuple[int, list[_Run]]] = {}

    def runs_of(track: int) -> tuple[int, list[_Run]]:
        if track not in decoded:
            decoded[track] = _sound_runs(*chunk.sounds[track], media)
        return decoded[track]

    chosen = pick_sound(range(len(chunk.sounds)), lambda track: (run.samples for run in runs_of(track)[1]))
    if chosen is None:
        return None
    if len(chunk.sounds) > 1:
        say(described(chunk.sounds[chosen][0], [track for track, _ in chunk.sounds]))
    try:
        rate, runs = runs_of(chosen)
    except (av.FFmpegError, ValueError):
        return None
    if not runs:
        return None
    first = max(min(run.number for run in runs), -(-chunk.first_us * rate // MICROSECONDS))
    end = max(run.number + run.samples.shape[1] for run in runs)
    if not 0 < end - first <= (media.max_chunk_s + 1) * rate:
        return None
    widest = max(runs, key=lambda run: len(run.samples))
    pieces = [(run.number, widened(run.samples, len(widest.samples))) for run in runs]
    channels = join(pieces, first, end, np.float32)
    return Sound(start_us - chunk.first_us, first, rate, channels[0], channels, widest.gains)


@dataclass(frozen=True, slots=True)
class _Run:
    """Samples [channels, samples] from `number` on, and how much each channel counts in a mix."""

    number: int
    samples: npt.NDArray[np.float32]
    gains: Gains


def _sound_runs(stream: Any, packets: list[Any], media: Media) -> tuple[int, list[_Run]]:
    """The rate (Hz) and numbered runs of a track. Raises ValueError for more sound than the chunk may hold."""
    rate, total, size, counter = 0, 0, 0, None
    runs: list[_Run] = []
    for packet in [*packets, None]:
        for frame in stream.codec_context.decode(packet):
            rate = rate or frame.sample_rate
            if rate not in SOUND_RATES_HZ:
                raise ValueError(f"{rate} samples a second")
            counter = counter or SampleCounter(rate)
            time_s = None if frame.pts is None else Fraction(frame.pts) * frame.time_base
            samples = np.concatenate([to_float32(raw_samples(piece)) for piece in at_rate(frame, rate)], axis=1)
            runs.append(_Run(counter.place(time_s, samples.shape[1]), samples, gains_of(frame.layout)))
            total += samples.shape[1]
            size += samples.nbytes
            if total > (media.max_chunk_s + 1) * rate or size > MAX_SOUND_BYTES:
                raise ValueError("more samples than the chunk's length allows")
    return rate, runs
