"""From the phonemes of a voice to the shapes of the mouth that speaks them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from streamfx.synth.voice import RATE, Speech

VISEMES = ("rest", "PP", "FF", "TH", "DD", "SS", "SH", "KK", "RR", "AA", "EH", "IH", "OO", "UU")
"""Mouth shapes: at rest; p b m; f v; th; t d n l; s z; sh ch j; k g ng h; r; and five vowels by their opening."""
LEAD_S = 0.08
"""The mouth takes a shape this long before its sound begins."""

_STEP_S = 0.005
_SMOOTH_S = 0.03
# A shape of the lips must be reached, however short its sound; one of the tongue may be missed.
_DOMINANCE = {"rest": 0.8, "PP": 3.0, "FF": 2.5, "TH": 1.4, "SH": 1.5, "SS": 1.2, "UU": 1.2, "KK": 0.6, "DD": 0.8}
_QUIET = 0.55
_SHAPES: dict[str, tuple[str, ...]] = {
    "PP": ("p", "b", "m"),
    "FF": ("f", "v"),
    "TH": ("T", "D"),
    "DD": ("t", "d", "n", "l", "?"),
    "SS": ("s", "z"),
    "SH": ("S", "Z", "tS", "dZ"),
    "KK": ("k", "g", "N", "h", "x", "C"),
    "RR": ("r", "R", "3", "*"),
    "AA": ("a", "A", "aa", "V", "0"),
    "EH": ("e", "E", "@"),
    "IH": ("i", "I", "j", "y", ";"),
    "OO": ("o", "O", "Q"),
    "UU": ("u", "U", "w", "W"),
}
_SHAPE_OF = {symbol: shape for shape, symbols in _SHAPES.items() for symbol in symbols}


@dataclass(frozen=True)
class VisemeTrack:
    """The mouth at T times."""

    weights: npt.NDArray[np.float32]
    """[T, len(VISEMES)] in 0..1, each row sums to 1; the louder the voice, the less of it is `rest`."""
    names: tuple[str, ...]
    """[T] the shape with the most weight."""


def mouth(speech: Speech, times_s: npt.NDArray[np.floating]) -> VisemeTrack:
    """The mouth of `speech` at `times_s` (seconds from its first sample).

    Neighbouring shapes blend into each other over about 0.1 s (coarticulation), and each leads its sound by LEAD_S.
    """
    end_s = max(speech.samples.size / RATE, float(np.max(times_s, initial=0.0))) + 2 * LEAD_S
    pull = np.zeros((int(end_s / _STEP_S) + 2, len(VISEMES)))
    pull[:, 0] = _DOMINANCE["rest"]
    for phoneme in speech.phonemes:
        shapes = shapes_of(phoneme.symbol)
        borders = np.linspace(phoneme.start_s - LEAD_S, max(phoneme.end_s - LEAD_S, phoneme.start_s), len(shapes) + 1)
        steps = np.maximum(0, np.round(borders / _STEP_S).astype(int))
        for shape, first, last in zip(shapes, steps[:-1], steps[1:], strict=True):
            pull[first:last] = 0
            pull[first:last, VISEMES.index(shape)] = _DOMINANCE.get(shape, 1.0)
    pull = gaussian_filter1d(pull, _SMOOTH_S / _STEP_S, axis=0, mode="nearest")
    weights = pull / pull.sum(axis=1, keepdims=True)
    opening = _opening(speech, len(weights))
    weights[:, VISEMES.index("TH") :] *= opening[:, None]  # lips close as fully in a whisper as in a shout
    weights[:, 0] = 1 - weights[:, 1:].sum(axis=1)
    steps = np.clip(np.round(np.asarray(times_s) / _STEP_S).astype(int), 0, len(weights) - 1)
    chosen = np.clip(weights[steps], 0, 1).astype(np.float32)
    return VisemeTrack(chosen, tuple(VISEMES[i] for i in chosen.argmax(axis=1)))


def shapes_of(symbol: str) -> tuple[str, ...]:
    """The shapes that one phoneme (espeak's mnemonic) goes through: two for a diphthong, `rest` for a pause."""
    if symbol in _SHAPE_OF:
        return (_SHAPE_OF[symbol],)
    shapes: list[str] = []
    for letter in symbol:
        shape = _SHAPE_OF.get(letter)
        if shape and shape not in shapes:
            shapes.append(shape)
    return tuple(shapes[:2]) or ("rest",)


def _opening(speech: Speech, steps: int) -> npt.NDArray[np.float64]:
    """How far the mouth opens at each step, _QUIET..1, from the voice's loudness around it."""
    size = int(_STEP_S * RATE)
    power = np.zeros(steps * size)
    first = int(LEAD_S * RATE)
    heard = speech.samples[first : first + power.size]
    power[: heard.size] = heard.astype(np.float64) ** 2
    loudness = gaussian_filter1d(np.sqrt(power.reshape(steps, size).mean(axis=1)), 0.05 / _STEP_S, mode="nearest")
    return np.asarray(_QUIET + (1 - _QUIET) * np.clip(loudness / 0.1, 0, 1))
