"""How something is said: what an expression does to a voice, and the signal processing that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.ndimage import gaussian_filter1d
from scipy.signal import firwin, upfirdn

from streamfx.synth import espeak

Floats = npt.NDArray[np.floating[Any]]

RATE = 16000
"""Samples a second of all speech."""


@dataclass(frozen=True)
class Phoneme:
    """One sound of speech."""

    start_s: float
    end_s: float
    symbol: str
    """espeak's mnemonic, ASCII."""


@dataclass(frozen=True)
class Piece:
    """A stretch of sound to be joined with others; its phonemes' times count from its start."""

    samples: npt.NDArray[np.float32]
    phonemes: tuple[Phoneme, ...]

    @property
    def seconds(self) -> float:
        return self.samples.size / RATE


@dataclass(frozen=True)
class Manner:
    """How something is said; zeros are the synthesiser's plain voice."""

    rate: float = 0.0
    """Octaves of speed: 1 is twice as fast."""
    pitch: float = 0.0
    """Semitones."""
    range: float = 0.0
    """Octaves of the pitch's range: 1 is twice as wide."""
    slope: float = 0.0
    """Semitones that the pitch rises over a sentence."""
    final: float = 0.0
    """Semitones that the pitch rises at the sentence's end."""
    loud: float = 0.0
    """Decibels."""
    tilt: float = 0.0
    """Spectral slope around 1 kHz, decibels an octave."""
    tense: float = 0.0
    """0..1: how tense the voice is, that is, how far its waveform saturates."""
    breath: float = 0.0
    """0..1: share of noise in the voice."""
    creak: float = 0.0
    """0..1: depth of slow irregular pulses."""
    tremor: float = 0.0
    """Semitones of a 6 to 9 Hz tremble of the pitch; the loudness trembles with it."""
    smile: float = 0.0
    """Octaves that the resonances rise: drawn-back lips shorten the throat, rounded ones lengthen it."""
    gap_s: float = 0.0
    """Pause between sentences, seconds."""
    start_s: float = 0.0
    """Silence before the first sound, seconds."""
    before: str = ""
    """A sound of BREATHS or CRIES before the first word, if any."""
    between: str = ""
    """A sound of BREATHS or CRIES between sentences, if any."""


@dataclass(frozen=True)
class _Colour:
    """What an expression at full intensity adds on average, and how often non-verbal sounds come with it."""

    adds: Manner
    sounds: dict[str, float]


COLOURS: dict[str, _Colour] = {
    "happiness": _Colour(
        Manner(rate=0.18, pitch=3.8, range=0.8, final=0.8, loud=3, tilt=1.4, breath=0.05, smile=0.12), {"laugh": 0.6}
    ),
    "sadness": _Colour(
        Manner(rate=-0.36, pitch=-1.5, range=-0.9, slope=-1.3, final=-0.8, loud=-5, tilt=-2.0, breath=0.35, tremor=0.18,
               creak=0.08, smile=-0.03),
        {"sigh": 0.3, "sob": 0.2},
    ),
    "neutral": _Colour(Manner(), {}),
    "anger": _Colour(
        Manner(rate=0.12, pitch=2.0, range=0.4, slope=-0.8, final=-1.0, loud=5.5, tilt=2.0, tense=0.4, gap_s=-0.33),
        {"huff": 0.2},
    ),
    "surprise": _Colour(
        Manner(rate=-0.08, pitch=4.0, range=1.0, slope=3.0, final=5.0, loud=2, tilt=0.3, breath=0.15, gap_s=-0.05, smile=-0.06),
        {"gasp": 0.4, "oh": 0.5},
    ),
    "disgust": _Colour(
        Manner(rate=-0.3, pitch=-1.5, range=-0.1, slope=-1.3, final=-0.5, loud=-1, tilt=-0.5, tense=0.15, creak=0.48,
               gap_s=-0.15, smile=-0.05),
        {"ugh": 0.35},
    ),
    "fear": _Colour(
        Manner(rate=0.35, pitch=4.0, range=-0.5, slope=0.5, loud=-1.5, tilt=-0.5, tremor=0.8, breath=0.3, gap_s=-0.2),
        {"gasp": 0.3, "pant": 0.35},
    ),
}  # fmt: skip
"""Each expression's colour at full intensity, for a speaker whose voice shows all of it."""
_SPREAD = Manner(
    rate=0.09, pitch=1.0, range=0.25, slope=0.55, final=0.65, loud=1.8, tilt=0.55, tense=0.11, breath=0.08, creak=0.1,
    tremor=0.07, gap_s=0.06, start_s=0.0, smile=0.022,
)  # fmt: skip
"""Standard deviation of what a clip adds to the average of its expression and its speaker."""
_HABIT = 0.7
"""Standard deviation between speakers, as a share of that between clips."""
_PAUSE_S = 0.25
"""Usual pause between sentences."""
_HIDDEN = 0.08
"""Share of clips whose voice hides most of what the face shows."""
_LIMITS = Manner(
    rate=0.6, pitch=8, range=1.3, slope=4, final=5, loud=12, tilt=4, tense=1, breath=1, creak=1, tremor=1.2, smile=0.2,
    gap_s=1, start_s=1,
)  # fmt: skip
_ONE_SIDED = ("tense", "breath", "creak", "tremor", "gap_s", "start_s")

BREATHS = {"gasp": (0.28, 0.9), "sigh": (0.55, 0.4), "pant": (0.16, 0.7), "huff": (0.2, 0.6)}
"""Breaths: about how long (seconds) and how bright (0..1)."""
CRIES = {
    "laugh": (4.0, "ha#h'a", 1.3),
    "sob": (3.0, "h@h'@", 1.0),
    "oh": (2.0, "'oU", 0.7),
    "ugh": (-2.0, "'Vx", 0.7),
}
"""Cries: semitones above the voice, espeak's phonemes, and their speed."""


def habit(rng: np.random.Generator) -> Manner:
    """How one speaker differs from the average in every clip."""
    return _around(Manner(), _HABIT, rng)


def draw(expression: str, shown: float, habit: Manner, rng: np.random.Generator) -> Manner:
    """How one clip is said where `shown` (0..1) of the expression is heard."""
    colour = COLOURS[expression]
    # Voices change early: at half the intensity they show about two thirds.
    shown = shown**0.6 * float(rng.uniform(0.8, 1.15))
    if rng.random() < _HIDDEN:
        shown *= float(rng.uniform(0, 0.3))
    mean = {name: shown * getattr(colour.adds, name) + getattr(habit, name) for name in _numbers()}
    mean["gap_s"] += _PAUSE_S
    mean["start_s"] = float(rng.uniform(0.0, 0.35))
    manner = _around(Manner(**mean), 1.0, rng)
    chances = {name: chance * shown for name, chance in colour.sounds.items()}
    return replace(manner, before=_pick(chances, rng), between=_pick(chances, rng))


def silence(seconds: float) -> Piece:
    """A stretch without sound."""
    return Piece(np.zeros(int(max(0.0, seconds) * RATE), np.float32), ())


def colour(
    utterance: espeak.Utterance, manner: Manner, rng: np.random.Generator
) -> tuple[Piece, Callable[[int], float]]:
    """The utterance at RATE in this manner, and a function that gives the new time (seconds) of each of its samples.

    Speed, pitch and range are the synthesiser's own; the rest is done here.
    """
    read, times_s = _course(utterance.samples.size / espeak.RATE, manner, rng)
    sound = _read(utterance.samples, read)
    sound = _pressed(_creaky(sound, manner.creak, rng), manner.tense)
    sound = _breathy(sound, manner.breath, rng)
    sound = _tilted(sound, manner.tilt)
    sound = _loud(sound * _declined(sound.size, manner, rng), manner.loud)

    def place(sample: int) -> float:
        return float(np.interp(sample / espeak.RATE, read, times_s))

    starts = [place(sample) for sample, _ in utterance.phonemes] + [sound.size / RATE]
    phonemes = tuple(
        Phoneme(start, end, symbol)
        for (_, symbol), start, end in zip(utterance.phonemes, starts[:-1], starts[1:], strict=True)
        if end > start and not symbol.startswith(espeak.PAUSE)
    )
    return Piece(sound.astype(np.float32), phonemes), place


def breath(name: str, manner: Manner, rng: np.random.Generator) -> Piece:
    """A breath of BREATHS: shaped noise."""
    seconds, bright = BREATHS[name]
    size = int(seconds * rng.uniform(0.75, 1.3) * RATE)
    along = np.linspace(0, 1, size)
    shape = along**1.5 * (1 - along) ** 0.5 if name == "gasp" else along**0.4 * (1 - along) ** 1.5
    noise = _tilted(_band(rng.standard_normal(size), 400 + 500 * bright, 3500 + 3500 * bright), manner.tilt)
    level = 10 ** ((manner.loud * 0.5 + rng.normal(-26, 3)) / 20)
    sound = noise * shape / _level(noise * shape) * level
    return Piece(sound.astype(np.float32), (Phoneme(0.0, size / RATE, "h"),))


def join(pieces: Sequence[Piece], seconds: float) -> tuple[npt.NDArray[np.float32], tuple[Phoneme, ...]]:
    """The pieces one after another in exactly `seconds` of sound, the last one faded where it is cut."""
    size = round(seconds * RATE)
    sound = np.zeros(size, np.float32)
    phonemes: list[Phoneme] = []
    first = 0
    for piece in pieces:
        part = piece.samples[: max(0, size - first)]
        sound[first : first + part.size] = part
        # Sums of times may round up past the piece's end, and no phoneme may reach into the next piece.
        start_s, end_s = first / RATE, min((first + piece.samples.size) / RATE, seconds)
        phonemes += [
            Phoneme(start_s + p.start_s, min(start_s + p.end_s, end_s), p.symbol)
            for p in piece.phonemes
            if start_s + p.start_s < seconds
        ]
        first += piece.samples.size
    fade = min(size, int(0.02 * RATE))
    sound[size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.clip(sound, -1, 1), tuple(phonemes)


def _numbers() -> list[str]:
    return [field.name for field in fields(Manner) if field.type == "float"]


def _around(mean: Manner, share: float, rng: np.random.Generator) -> Manner:
    """A draw around `mean` within the limits; values that cannot be negative are clipped at 0."""
    out: dict[str, Any] = {}
    for name in _numbers():
        value = getattr(mean, name) + share * getattr(_SPREAD, name) * float(rng.normal())
        limit = getattr(_LIMITS, name)
        out[name] = float(np.clip(value, 0.0 if name in _ONE_SIDED else -limit, limit))
    return replace(mean, **out)


def _pick(chances: dict[str, float], rng: np.random.Generator) -> str:
    left = float(rng.random())
    for name, chance in chances.items():
        left -= chance
        if left < 0:
            return name
    return ""


_COURSE_STEP_S = 0.001
_TO_TWICE = firwin(63, 7500, fs=2 * espeak.RATE) * 2
"""Low-pass filter that doubles the samples and drops what RATE cannot hold; interpolation is then accurate enough."""


def _course(seconds: float, manner: Manner, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Which time of the utterance is read at each output sample, and the output's times; both in seconds.

    Reading faster raises the pitch, and the resonances with it, as a raised larynx does.
    """
    times_s = np.arange(0, 1.5 * seconds + _COURSE_STEP_S, _COURSE_STEP_S)
    along = np.minimum(times_s / max(seconds, 1e-3), 1.0)
    course = manner.slope * (along - 0.5) + manner.final * np.clip((along - 0.7) / 0.3, 0, 1) ** 2
    wander = np.cumsum(rng.standard_normal(times_s.size)) * 0.03
    course += manner.tremor * np.sin(2 * np.pi * rng.uniform(6, 9) * times_s + wander + rng.uniform(0, 6.3))
    # Nobody holds a pitch exactly.
    course += gaussian_filter1d(rng.standard_normal(times_s.size), 0.04 / _COURSE_STEP_S) * 3.0
    read = np.concatenate([[0.0], np.cumsum(2 ** (course / 12))[:-1]]) * _COURSE_STEP_S
    output_s = np.arange(int(np.interp(seconds, read, times_s) * RATE)) / RATE
    return np.interp(output_s, times_s, read), output_s


def _read(samples: npt.NDArray[np.float32], read: Floats) -> Floats:
    """Band-limited samples at the times `read` (seconds)."""
    twice = upfirdn(_TO_TWICE, samples, 2)[31:]
    return np.asarray(np.interp(read * 2 * espeak.RATE, np.arange(twice.size), twice))


def _envelope(sound: Floats, seconds: float) -> Floats:
    """Smoothed loudness, on a coarse grid for speed."""
    step = 80
    blocks = np.sqrt(np.mean(np.pad(sound, (0, -sound.size % step)).reshape(-1, step) ** 2, axis=1))
    smooth = gaussian_filter1d(blocks, seconds * RATE / step)
    return np.asarray(np.interp(np.arange(sound.size), np.arange(smooth.size) * step + step / 2, smooth))


def _creaky(sound: Floats, depth: float, rng: np.random.Generator) -> Floats:
    """Slow irregular pulses of 25 to 60 a second, as vocal folds that barely close give."""
    if depth < 0.02:
        return sound
    count = int(sound.size / RATE * 90) + 4
    beats = np.cumsum(np.exp(rng.normal(np.log(1 / 42), 0.25, count)))
    phase = np.interp(np.arange(sound.size) / RATE, beats, np.arange(count))
    pulse = np.exp(-3.5 * (phase % 1.0))
    return sound * (1 - depth + depth * 1.8 * pulse)


def _pressed(sound: Floats, tense: float) -> Floats:
    """A waveform that saturates: stronger upper harmonics."""
    if tense < 0.02:
        return sound
    drive = 1 + 9 * tense
    level = _level(sound)
    pressed = np.tanh(sound / level * 0.35 * drive + 0.15 * tense) - np.tanh(0.15 * tense)
    return np.asarray(pressed * level / _level(pressed))


def _breathy(sound: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Part of the voice replaced by noise that follows its loudness, above 1.2 kHz."""
    if share < 0.02:
        return sound
    noise = _band(rng.standard_normal(sound.size), 1200, 7000)
    return sound * (1 - 0.5 * share) + noise * _envelope(sound, 0.01) * 0.35 * share


def _band(sound: Floats, low_hz: float, high_hz: float) -> Floats:
    """Softly limited to a band; the loudness is kept."""

    def gain(hertz: Floats) -> Floats:
        return 1 / np.sqrt((1 + (low_hz / np.maximum(hertz, 1)) ** 4) * (1 + (hertz / high_hz) ** 4))

    out = _filtered(sound, gain)
    return np.asarray(out * _level(sound) / _level(out))


def _tilted(sound: Floats, slope: float) -> Floats:
    """`slope` dB an octave around 1 kHz, levelling off below 250 Hz."""
    return _filtered(sound, lambda hertz: 10 ** (slope * np.log2(np.maximum(hertz, 250) / 1000) / 20))


def _filtered(sound: Floats, gain: Callable[[Floats], Floats]) -> Floats:
    """The sound with each frequency (Hz) multiplied by its `gain`."""
    size = next_fast_len(sound.size, real=True)
    return np.asarray(irfft(rfft(sound, size) * gain(rfftfreq(size, 1 / RATE)), size)[: sound.size])


def _level(sound: Floats) -> float:
    """Root mean square, never 0."""
    return float(np.sqrt(np.mean(sound**2))) + 1e-9


def _declined(size: int, manner: Manner, rng: np.random.Generator) -> Floats:
    """Loudness over a sentence: it falls as breath runs out, and it trembles where the voice does."""
    along = np.linspace(0, 1, size)
    tremble = 1 + 0.35 * min(1.0, manner.tremor) * np.sin(2 * np.pi * rng.uniform(6, 9) * along * size / RATE)
    return np.asarray(10 ** (-2.5 * along / 20) * tremble)


def _loud(sound: Floats, decibels: float) -> Floats:
    """The sound at -25 dB of full scale plus `decibels`, with peaks rounded off."""
    return np.asarray(np.tanh(sound / _level(sound) * 10 ** ((decibels - 25) / 20)))
