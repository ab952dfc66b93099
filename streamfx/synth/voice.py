"""Voices: who speaks (sex, age, habits), what they say, and how an expression colours it.

The words never depend on the expression, only how they are said does: speed, pitch, its range and course, loudness,
brightness, tension, breath, creak, tremor, and non-verbal sounds. The directions of these effects follow Juslin and
Laukka, "Communication of emotions in vocal expression and music performance" (Psychological Bulletin 129, 2003), and
Scherer, "Vocal communication of emotion" (Speech Communication 40, 2003); the sizes are our own choice. Speakers and
clips vary, and some voices hide what the face shows, so that the expressions overlap as they do in life: if the sound
were enough to tell them apart, a model trained on both would learn nothing from faces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
import numpy.typing as npt

from streamfx.errors import SynthError
from streamfx.synth import espeak, prosody
from streamfx.synth.prosody import RATE, Manner, Phoneme, Piece
from streamfx.synth.sentences import SENTENCES

__all__ = ["RATE", "Phoneme", "Speaker", "Speech", "speak"]

_ACCENTS = (
    ("en-us", "en-us", "dictrules 3 6\nstressLength 140 120 190 170 0 0 255 300"),
    ("en-us", "en-us-nyc", "dictrules 3 6\nstressLength 140 120 190 170 0 0 255 300"),
    ("en-gb", "en", ""),
    ("en-gb", "en-rp", ""),
    ("en", "en-wi", "dictrules 8\nstressLength 175 175 175 175 220 220 250 290"),
)
"""espeak's language, phoneme table and rules of each accent."""


@dataclass(frozen=True)
class Speech:
    """A stretch of speech with its phonemes and words."""

    samples: npt.NDArray[np.float32]
    """[n] mono at RATE, within -1..1."""
    phonemes: tuple[Phoneme, ...]
    """In order, without overlap; the time between them is silent."""
    text: str
    """The words that begin within it."""


@dataclass(frozen=True)
class Speaker:
    """One person's voice, the same in every clip."""

    sex: str
    age_years: int
    accent: int
    """Index into the known accents."""
    pitch_hz: float
    """Usual pitch."""
    formants: float
    """Resonances relative to those of a grown man: a shorter throat makes them higher."""
    detail: tuple[float, ...]
    """The speaker's own factor of each of the first five resonances, about 1."""
    words_per_minute: float
    habit: Manner
    """How this speaker differs from others in every expression."""
    expressivity: float
    """How strongly expressions are heard in this voice, 0..1."""

    @classmethod
    def draw(cls, rng: np.random.Generator, sex: str, age_years: int) -> Speaker:
        """A random speaker; equal generators give equal speakers."""
        grown = float(np.clip((age_years - 5) / 13, 0, 1))
        old = float(np.clip((age_years - 55) / 30, 0, 1))
        # Usual pitches: about 270 Hz at eight, 115 Hz for men and 205 Hz for women; age brings the two nearer.
        settled = np.log2(115 * 2 ** (0.25 * old)) if sex == "male" else np.log2(205 * 2 ** (-0.3 * old))
        pitch = 2 ** (settled * grown + np.log2(280) * (1 - grown) + rng.normal(0, 0.16))
        formants = (1.0 if sex == "male" else 1.14) * grown + 1.26 * (1 - grown)
        habit = prosody.habit(rng)
        return cls(
            sex=sex,
            age_years=age_years,
            accent=int(rng.integers(len(_ACCENTS))),
            pitch_hz=float(np.clip(pitch, 75, 360)),
            formants=float(formants * np.exp(rng.normal(0, 0.035))),
            detail=tuple(float(x) for x in np.exp(rng.normal(0, 0.03, 5))),
            words_per_minute=float((172 - 25 * old) * np.exp(rng.normal(0, 0.1))),
            habit=replace(habit, breath=habit.breath + 0.1 * old, creak=habit.creak + 0.1 * old),
            expressivity=float(rng.uniform(0.65, 1.0)),
        )


def speak(speaker: Speaker, expression: str, intensity: float, rng: np.random.Generator, seconds: float) -> Speech:
    """`seconds` of `speaker` saying everyday sentences with an expression of LABELS_7 at `intensity` 0..1.

    Equal speakers, arguments and generators give equal samples in every process. Raises SynthError for an unknown
    expression, and MissingComponent where espeak-ng is not installed.
    """
    if expression not in prosody.COLOURS:
        raise SynthError(f"voice: expected an expression of {', '.join(prosody.COLOURS)}, got {expression!r}")
    manner = prosody.draw(expression, intensity * speaker.expressivity, speaker.habit, rng)
    order = rng.permutation(len(SENTENCES))
    pieces: list[Piece] = [prosody.silence(manner.start_s)]
    text: list[str] = []
    if manner.before:
        pieces.append(_noise_or_cry(speaker, manner, manner.before, rng))
    for index in cycle(order):
        if sum(piece.seconds for piece in pieces) >= seconds:
            break
        left_s = seconds - sum(piece.seconds for piece in pieces)
        spoken, words = _sentence(speaker, manner, SENTENCES[index], left_s, rng)
        pieces += [spoken, prosody.silence(manner.gap_s * float(rng.uniform(0.6, 1.5)))]
        text.append(words)
        if manner.between and rng.random() < 0.6:
            pieces.append(_noise_or_cry(speaker, manner, manner.between, rng))
    samples, phonemes = prosody.join(pieces, seconds)
    return Speech(samples, phonemes, " ".join(text))


def _sentence(
    speaker: Speaker, manner: Manner, sentence: str, left_s: float, rng: np.random.Generator
) -> tuple[Piece, str]:
    """One sentence, and its words that begin within the next `left_s` seconds."""
    utterance = espeak.say(_voice(speaker, manner), sentence, int(speaker.words_per_minute * 2**manner.rate))
    piece, place = prosody.colour(utterance, manner, rng)
    cut = next((at for sample, at in utterance.words if at > 0 and place(sample) >= left_s), len(sentence))
    return piece, sentence[:cut].rstrip(" ,")


def _noise_or_cry(speaker: Speaker, manner: Manner, name: str, rng: np.random.Generator) -> Piece:
    """A non-verbal sound: breath is drawn as noise, laughter and the like are spoken and coloured."""
    if name in prosody.BREATHS:
        return prosody.breath(name, manner, rng)
    shift, phonemes, faster = prosody.CRIES[name]
    high = replace(manner, pitch=manner.pitch + shift, breath=min(1.0, manner.breath + 0.25))
    repeats = int(rng.integers(1, 4)) if name in ("laugh", "sob") else 1
    cry = f"[[{' '.join([phonemes] * repeats)}]]"
    utterance = espeak.say(_voice(speaker, high), cry, int(speaker.words_per_minute * faster))
    return prosody.colour(utterance, high, rng)[0]


def _voice(speaker: Speaker, manner: Manner) -> str:
    """The speaker in espeak's voice file format; see `espeak.say` for what is switched off."""
    language, phonemes, rules = _ACCENTS[speaker.accent]
    base = speaker.pitch_hz * 2 ** (manner.pitch / 12)
    # espeak's range runs from its lowest to its highest pitch; the usual voice has about 1:1.5.
    width = base * 0.42 * 2**manner.range
    lines = [
        "name streamfx",
        f"language {language}",
        f"phonemes {phonemes}",
        rules,
        "flutter 0",
        "roughness 0",
        f"pitch {int(base - width * 0.45)} {int(base + width * 0.55)}",
    ]
    for formant in range(9):
        own = speaker.detail[formant - 1] if 1 <= formant <= len(speaker.detail) else 1.0
        lines.append(f"formant {formant} {int(100 * speaker.formants * own * 2**manner.smile)} 100 100")
    return "\n".join(line for line in lines if line) + "\n"
