"""Calls the library of the speech synthesiser espeak-ng: turns a voice description and a text into samples and times.

The library keeps one state for the whole process. Each call therefore describes the voice in full, and every effect
that carries over from one call to the next (flutter, roughness, echo, breath and the automatic gain) is switched off;
where such an effect is wanted, it is added to the samples afterwards. Equal calls then give equal samples in every
process.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import MissingComponent, SynthError

RATE = 22050
"""Samples a second of an utterance."""
SLOWEST, FASTEST = 80, 400
"""Limits of the speaking rate, words a minute."""
PAUSE = "_"
"""Symbol of a silence between phonemes."""

_LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS, _PHONEME_EVENTS, _RETURN_ON_ERROR = 2, 0x0001, 0x8000
_UTF8, _PHONEMES_IN_BRACKETS = 1, 0x0100
_SPEED, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_END_OF_EVENTS, _WORD, _PHONEME = 0, 1, 7
# At the usual volume of 100, loud vowels start the automatic gain, which would carry over to the next utterance.
_SAFE_VOLUME = 50


@dataclass(frozen=True)
class Utterance:
    """Result of one call of the synthesiser."""

    samples: npt.NDArray[np.float32]
    """[n] at RATE, within -1..1, silence at the end cut off."""
    phonemes: tuple[tuple[int, str], ...]
    """First sample and espeak's mnemonic of each phoneme, in order; PAUSE between them."""
    words: tuple[tuple[int, int], ...]
    """First sample of each word and its place in the text."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Synthesiser:
    """The library, opened once per process."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise MissingComponent(
                f"the speech synthesiser {_LIBRARY} cannot be loaded ({error}); on Debian: apt-get install espeak-ng"
            ) from error
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _RETURN_ON_ERROR)
        if rate != RATE:
            raise MissingComponent(
                f"espeak-ng did not start: expected sound at {RATE} Hz, got {rate}; is its package "
                "espeak-ng-data there?"
            )
        self._lock = threading.Lock()
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int, str]] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, voice: str, text: str, words_per_minute: int) -> Utterance:
        """See `say`."""
        with self._lock, tempfile.NamedTemporaryFile("w", prefix="streamfx-voice-") as file:
            file.write(voice)
            file.flush()
            if self._library.espeak_ng_SetVoiceByFile(file.name.encode()) != 0:
                raise SynthError(f"espeak-ng refuses the voice description:\n{voice}")
            for parameter, value in (
                (_SPEED, words_per_minute), (_VOLUME, _SAFE_VOLUME), (_PITCH, 50), (_RANGE, 50)
            ):  # fmt: skip
                self._library.espeak_SetParameter(parameter, value, 0)
            body = text.encode()
            flags = _UTF8 | _PHONEMES_IN_BRACKETS
            # An utterance depends slightly on the one before it, so each is spoken twice and the second one is kept.
            for _ in range(2):
                self._pieces.clear()
                self._events.clear()
                failed = self._library.espeak_Synth(body, len(body) + 1, 0, 0, 0, flags, None, None) != 0
                if failed or not self._pieces:
                    raise SynthError(f"espeak-ng gave no sound for {text!r}")
            # How much silence ends an utterance depends on the one before.
            sound = np.trim_zeros(np.concatenate(self._pieces), "b").astype(np.float32) / np.float32(32768)
            events = list(self._events)
        return Utterance(
            sound,
            tuple((min(sample, sound.size), name or PAUSE) for kind, sample, _, name in events if kind == _PHONEME),
            tuple((min(sample, sound.size), place) for kind, sample, place, _ in events if kind == _WORD),
        )

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _END_OF_EVENTS:
            event = events[index]
            name = event.id.string.decode("ascii", "replace") if event.type == _PHONEME else ""
            self._events.append((event.type, event.sample, event.text_position - 1, name))
            index += 1
        return 0


@cache
def _synthesiser() -> _Synthesiser:
    return _Synthesiser()


def say(voice: str, text: str, words_per_minute: int) -> Utterance:
    """Speak `text` (phonemes may stand in `[[…]]`) in a voice described in espeak-ng's voice file format.

    The description should set `flutter 0` and `roughness 0` and name no `echo` or `breath`: with these, equal calls
    would not give equal samples. Raises MissingComponent where the library is not installed, and SynthError where it
    refuses the voice or gives no sound.
    """
    return _synthesiser().say(voice, text, int(np.clip(words_per_minute, SLOWEST, FASTEST)))
