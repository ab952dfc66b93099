"""Mouth shapes: which phoneme has which, when, and how they blend."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.lacking import needs
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.synth.visemes import LEAD_S, VISEMES, mouth, shapes_of
from streamfx.synth.voice import RATE, Phoneme, Speaker, Speech, speak

TIMES = np.arange(0, 2, 0.01)


def _speech(*phonemes: Phoneme, loudness: float = 0.2, seconds: float = 2.0) -> Speech:
    samples = np.zeros(int(seconds * RATE), np.float32)
    for phoneme in phonemes:
        samples[int(phoneme.start_s * RATE) : int(phoneme.end_s * RATE)] = loudness
    return Speech(samples, phonemes, "")


def _weight(speech: Speech, shape: str, time_s: float) -> float:
    return float(mouth(speech, np.array([time_s])).weights[0, VISEMES.index(shape)])


@pytest.mark.parametrize(
    ("symbol", "shapes"),
    [
        ("p", ("PP",)), ("m", ("PP",)), ("f", ("FF",)), ("T", ("TH",)), ("D", ("TH",)), ("n", ("DD",)), ("z", ("SS",)),
        ("tS", ("SH",)), ("N", ("KK",)), ("r", ("RR",)), ("3:", ("RR",)), ("A:", ("AA",)), ("V", ("AA",)), ("E", ("EH",)),
        ("@2", ("EH",)), ("i:", ("IH",)), ("I2", ("IH",)), ("O:", ("OO",)), ("u:", ("UU",)), ("w", ("UU",)),
        ("aI", ("AA", "IH")), ("oU", ("OO", "UU")), ("eI", ("EH", "IH")), ("aU", ("AA", "UU")), ("_:", ("rest",)),
    ],
)  # fmt: skip
def test_a_phoneme_has_its_shape(symbol: str, shapes: tuple[str, ...]) -> None:
    assert shapes_of(symbol) == shapes


@needs("espeak-ng")
def test_every_phoneme_of_the_voices_moves_the_mouth() -> None:
    heard: set[str] = set()
    for seed in range(25):
        rng = np.random.default_rng(seed)
        speaker = Speaker.draw(rng, "female", 30)
        heard |= {phoneme.symbol for phoneme in speak(speaker, "happiness", 1.0, rng, 4.0).phonemes}
    assert len(heard) > 35
    assert {symbol for symbol in heard if shapes_of(symbol) == ("rest",)} == set()


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.floats(0, 0.3), st.floats(0.02, 0.3), st.sampled_from([*"pfTtsSkraeiou"]))),
    loudness=st.floats(0, 0.9),
)
def test_weights_are_shares_of_one_and_move_smoothly(gaps: list[tuple[float, float, str]], loudness: float) -> None:
    phonemes, now = [], 0.0
    for gap, length, symbol in gaps[:8]:
        phonemes.append(Phoneme(now + gap, now + gap + length, symbol))
        now = phonemes[-1].end_s
    track = mouth(_speech(*phonemes, loudness=loudness, seconds=5), TIMES)
    assert track.weights.dtype == np.float32 and track.weights.shape == (len(TIMES), len(VISEMES))
    assert track.weights.min() >= 0
    np.testing.assert_allclose(track.weights.sum(axis=1), 1, atol=1e-5)
    assert np.abs(np.diff(track.weights, axis=0)).max() < 0.5  # in 10 ms
    assert track.names == tuple(VISEMES[i] for i in track.weights.argmax(axis=1))


def test_silence_is_a_mouth_at_rest() -> None:
    track = mouth(_speech(), TIMES)
    assert set(track.names) == {"rest"} and (track.weights[:, 0] == 1).all()


def test_the_mouth_leads_the_sound() -> None:
    speech = _speech(Phoneme(1.0, 1.3, "a"))
    weights = mouth(speech, TIMES).weights[:, VISEMES.index("AA")]
    half_open = TIMES[np.flatnonzero(weights > 0.5 * weights.max())[0]]
    assert 1.0 - half_open == pytest.approx(LEAD_S, abs=0.03)
    assert weights[TIMES < 0.8].max() < 0.02


@pytest.mark.parametrize("symbol", ["p", "b", "m"])
def test_lips_close_even_for_a_short_sound_between_open_vowels(symbol: str) -> None:
    speech = _speech(Phoneme(0.5, 0.8, "a"), Phoneme(0.8, 0.86, symbol), Phoneme(0.86, 1.2, "a"))
    weights = mouth(speech, TIMES).weights
    assert weights[:, VISEMES.index("PP")].max() > 0.6
    assert _weight(speech, "AA", 0.6) > 0.8


def test_a_loud_voice_opens_the_mouth_wider() -> None:
    low, high = (_weight(_speech(Phoneme(0.5, 1.0, "a"), loudness=level), "AA", 0.7) for level in (0.01, 0.3))
    assert high > low + 0.2


def test_a_diphthong_glides() -> None:
    speech = _speech(Phoneme(0.5, 0.8, "aI"))
    names = mouth(speech, np.array([0.5, 0.67])).names
    assert names == ("AA", "IH")
