"""Decodes a chunk's bytes into a Segment: sampled RGB frames with their event times, and the sound.

Every backend implements the small protocol `Pictures`. Times, sampling, sound and the checks of bad input are the same
for all backends. The sound keeps all its channels and its own rate; the windows derive from it what a model needs.
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
"""Sample rates that are accepted. Others are errors in the file: they would need gigabytes of silence, or are too low
for speech."""
MAX_SOUND_BYTES = 512 << 20
"""Most bytes that one sound track of a chunk may decode to, as float32: more than two minutes of 8 channels at 96
kHz."""


class Decoder(Protocol):
    """Decodes chunks. It keeps no state between chunks and may be called from several threads."""

    def decode(self, body: bytes, start_us: int) -> Segment:
        """The segment of one chunk whose first shown frame is at event time `start_us`. Raises BadChunk."""


class Pictures(Protocol):
    """A backend, which decodes chosen frames to RGB pictures."""

    def pictures(
        self, chunk: ChunkMedia, wanted: Sequence[int], media: Media
    ) -> Sequence[npt.NDArray[np.uint8] | torch.Tensor]:
        """The frames with the indices `wanted` into `chunk.pts`, as uint8 RGB [H, W, 3] as `Screen` makes them.

        Raises BadChunk.
        """


def open_decoder(media: Media) -> Decoder:
    """The decoder that the configuration names. Raises MissingComponent where the machine does not have it."""
    return ChunkDecoder(media, _backend(chosen_backend(media.backend)))


def decode(body: bytes, start_us: int, media: Media) -> Segment:
    """Decode a single chunk. To decode many, use `open_decoder`."""
    return open_decoder(media).decode(body, start_us)


def chosen_backend(backend: str) -> str:
    """The backend to use: `auto` becomes `gpu` on a machine with a CUDA device and PyNvVideoCodec, else `pyav`."""
    if backend != "auto":
        return backend
    has_decoder = torch.cuda.is_available() and importlib.util.find_spec("PyNvVideoCodec") is not None
    return "gpu" if has_decoder else "pyav"


class ChunkDecoder:
    """A Decoder that uses one backend."""

    def __init__(self, media: Media, backend: Pictures):
        self._media = media
        self._backend = backend
        self._logged: set[str] = set()

    def decode(self, body: bytes, start_us: int) -> Segment:
        """The segment of one chunk whose first shown frame is at event time `start_us` (UTC microseconds).

        Only frames that cover a point of the sampling grid are converted to RGB. `sound` is None for a chunk whose
        sound is missing or cannot be decoded. Raises BadChunk with a reason listed in `chunk_media`.
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
            sound = _sound(chunk, start_us, self._media, self._log_once)
            return Segment(start_us, start_us + chunk.end_us, frames, sound, len(times_us))

    def _log_once(self, choice: str) -> None:
        """Log which sound track is used, once for each choice and not for each chunk."""
        if choice not in self._logged:
            self._logged.add(choice)
            log.info("chunks: sound %s is used; `media.sound_track` chooses another", choice)


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
        detail = f"{frames} sampled frames of {width}x{height} need {needed >> 20} MiB"
        raise BadChunk("too_large", f"{detail}, the limit is {MAX_SEGMENT_BYTES >> 20} MiB; publish shorter chunks")


def _sound(chunk: ChunkMedia, start_us: int, media: Media, log_choice: Callable[[str], None]) -> Sound | None:
    """The chunk's sound from `start_us` on; None where it is missing or broken, since the frames can still be used."""
    decoded: dict[int, tuple[int, list[_Run]]] = {}

    def runs_of(track: int) -> tuple[int, list[_Run]]:
        if track not in decoded:
            decoded[track] = _sound_runs(*chunk.sounds[track], media)
        return decoded[track]

    chosen = pick_sound(range(len(chunk.sounds)), lambda track: (run.samples for run in runs_of(track)[1]))
    if chosen is None:
        return None
    if len(chunk.sounds) > 1:
        log_choice(described(chunk.sounds[chosen][0], [track for track, _ in chunk.sounds]))
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
    """Samples [channels, samples] whose first has the given number, and the gain of each channel in a mix."""

    number: int
    samples: npt.NDArray[np.float32]
    gains: Gains


def _sound_runs(stream: Any, packets: list[Any], media: Media) -> tuple[int, list[_Run]]:
    """The sample rate (Hz) and the numbered runs of a track. Raises ValueError if there is too much sound."""
    rate, total, size, counter = 0, 0, 0, None
    runs: list[_Run] = []
    for packet in [*packets, None]:
        for frame in stream.codec_context.decode(packet):
            rate = rate or frame.sample_rate
            if rate not in SOUND_RATES_HZ:
                raise ValueError(f"expected a sample rate of 2 kHz to 768 kHz, got {rate} Hz")
            counter = counter or SampleCounter(rate)
            time_s = None if frame.pts is None else Fraction(frame.pts) * frame.time_base
            samples = np.concatenate([to_float32(raw_samples(piece)) for piece in at_rate(frame, rate)], axis=1)
            runs.append(_Run(counter.place(time_s, samples.shape[1]), samples, gains_of(frame.layout)))
            total += samples.shape[1]
            size += samples.nbytes
            if total > (media.max_chunk_s + 1) * rate or size > MAX_SOUND_BYTES:
                raise ValueError("more samples than the chunk's length allows")
    return rate, runs
