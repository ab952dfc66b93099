"""From a clean voice to a recording: the room, the noise in it, the microphone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from streamfx.errors import SynthError
from streamfx.synth.voice import RATE, Speaker, speak

Floats = npt.NDArray[np.float64]

KINDS = ("clear", "noisy", "silent")
"""What `record` makes: a voice that is well heard, one 0 to 15 dB over the noise, or no voice at all."""


def record(samples: npt.NDArray[np.float32], kind: str, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Record speech `samples` [n] at RATE under a condition of KINDS; returns float32 [n] within -1..1.

    `silent` holds nothing of the speech: it is the noise of a room or, in one recording of three, digital silence.
    Raises SynthError for an unknown kind.
    """
    if kind not in KINDS:
        raise SynthError(f"sound: expected a kind of {', '.join(KINDS)}, got {kind!r}")
    size = samples.size
    if kind == "silent":
        if size == 0 or rng.random() < 1 / 3:
            return np.zeros(size, np.float32)
        return (_noise(size, rng) * 10 ** (rng.uniform(-65, -40) / 20)).astype(np.float32)
    voice = _in_room(samples.astype(np.float64), *((0.35, -12) if kind == "clear" else (0.7, -6)), rng)
    over_dB = rng.uniform(22, 45) if kind == "clear" else rng.uniform(0, 15)
    noise = _babble(size, rng) if kind == "noisy" and rng.random() < 0.35 else _noise(size, rng)
    # The noise is set against an average voice, so that a quiet voice drowns sooner than a loud one.
    mixed = voice + noise * 10 ** ((-25 - over_dB) / 20)
    heard = _microphone(mixed, rng) * 10 ** (rng.normal(0, 4) / 20)
    return np.clip(np.tanh(heard), -1, 1).astype(np.float32)


def _in_room(voice: Floats, longest_s: float, loudest_dB: float, rng: np.random.Generator) -> Floats:
    """Speech with the echoes of a random room: noise that dies away by 60 dB within up to `longest_s`."""
    seconds = rng.uniform(0.1, longest_s)
    along_s = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(along_s.size) * 10 ** (-3 * along_s / seconds)
    tail[: int(0.004 * RATE)] = 0
    tail *= 10 ** (rng.uniform(loudest_dB - 12, loudest_dB) / 20) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] = 1
    size = next_fast_len(voice.size + tail.size)
    return np.asarray(irfft(rfft(voice, size) * rfft(tail, size), size)[: voice.size])


def _noise(size: int, rng: np.random.Generator) -> Floats:
    """Noise of loudness 1 whose power falls with frequency (between white and brown), at times with a mains hum."""
    fast = next_fast_len(max(size, 1))
    steps = np.arange(fast // 2 + 1)
    spectrum = rng.standard_normal(steps.size) + 1j * rng.standard_normal(steps.size)
    hertz = np.maximum(steps * RATE / fast, 20)
    noise = irfft(spectrum * hertz ** -rng.uniform(0.2, 1.0), fast)[:size]
    noise /= np.sqrt(np.mean(noise**2)) + 1e-12
    if rng.random() < 0.25:
        mains = rng.choice([50.0, 60.0]) * np.arange(size) / RATE
        noise += 0.7 * sum(np.sin(2 * np.pi * k * mains + rng.uniform(0, 6.3)) / k for k in (1, 2, 3, 4))
    return np.asarray(noise)


def _babble(size: int, rng: np.random.Generator) -> Floats:
    """Several strangers talking at once, at loudness 1."""
    mix = np.zeros(size)
    for _ in range(int(rng.integers(3, 6))):
        stranger = Speaker.draw(rng, str(rng.choice(["female", "male"])), int(rng.integers(18, 75)))
        mix += np.roll(speak(stranger, "neutral", 0.0, rng, size / RATE).samples, int(rng.integers(size)))
    return np.asarray(mix / (np.sqrt(np.mean(mix**2)) + 1e-12))


def _microphone(sound: Floats, rng: np.random.Generator) -> Floats:
    """What a random microphone lets through: a band, and a slope of up to 2 dB an octave."""
    size = next_fast_len(sound.size)
    hertz = np.maximum(np.arange(size // 2 + 1) * RATE / size, 1.0)
    low, high = np.exp(rng.uniform(np.log(50), np.log(200))), np.exp(rng.uniform(np.log(3600), np.log(7800)))
    gain = 1 / np.sqrt((1 + (low / hertz) ** 4) * (1 + (hertz / high) ** 8))
    gain *= 10 ** (rng.normal(0, 0.8) * np.log2(np.maximum(hertz, 100) / 1000) / 20)
    return np.asarray(irfft(rfft(sound, size) * gain, size)[: sound.size])
