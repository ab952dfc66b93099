"""The sound of neighbouring chunks, joined to the sample on one grid for as long as open windows need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.media.downmix import MONO, Gains, mix
from streamfx.records import MICROSECONDS, Segment, Snapshot, Sound

JOIN_TOLERANCE_S = 0.02
"""A piece with its own clock that starts within this distance of the last one's end is joined to it directly."""


@dataclass(slots=True)
class _Piece:
    offset: int
    placed: int
    """Number on the joined grid of the chunk's first sample."""
    skipped: int
    """Samples at the piece's start that no open window needs any more."""
    samples: npt.NDArray[np.float32]
    """[channels, samples]."""
    gains: Gains

    @property
    def first(self) -> int:
        return self.placed + self.skipped

    @property
    def end(self) -> int:
        return self.first + int(self.samples.shape[1])


@dataclass(frozen=True, slots=True)
class Stretch:
    """A window's sound: mono float32 at `rate` Hz, zero where there is none, and the share (0..1) that there is."""

    waveform: npt.NDArray[np.float32]
    rate: int
    covered: float


class JoinedSound:
    """Pieces of one stream's sound. Where pieces overlap, as they do at chunk borders, the later one counts.

    `channels` says what is heard of them: `first`, channel 0, or `mix`, all of them.
    """

    def __init__(self, channels: str = "first") -> None:
        self._mixed = channels == "mix"
        self._origin_us = 0
        self._rate = 0
        self._pieces: list[_Piece] = []

    def add(self, offset: int, sound: Sound) -> None:
        """Put a chunk's sound in its place; another rate discards what was there."""
        if sound.rate != self._rate:
            self._origin_us, self._rate, self._pieces = sound.origin_us, sound.rate, []
        self._pieces.append(_Piece(offset, self._place(sound), 0, *self._heard(sound)))

    def between(self, start_us: int, length_us: int) -> Stretch | None:
        """The sound from `start_us` on for `length_us`; None where there is no sample of it."""
        if not self._rate:
            return None
        first = self._number_at(start_us)
        length = round(length_us * self._rate / MICROSECONDS)
        # Pieces of one layout are mixed as one, so that nothing depends on where chunks were cut.
        layouts: dict[Gains, npt.NDArray[np.float32]] = {}
        whose = np.full(length, -1)
        for piece in self._pieces:
            begin, end = max(first, piece.first), min(first + length, piece.end)
            if begin < end:
                samples = layouts.setdefault(piece.gains, np.zeros((len(piece.samples), length), np.float32))
                samples[:, begin - first : end - first] = piece.samples[:, begin - piece.first : end - piece.first]
                whose[begin - first : end - first] = list(layouts).index(piece.gains)
        if not layouts:
            return None
        waveform = np.zeros(length, np.float32)
        for number, (gains, samples) in enumerate(layouts.items()):
            mine = whose == number
            waveform[mine] = mix(samples[:, mine], gains)
        return Stretch(waveform, self._rate, float((whose >= 0).mean()))

    def forget_before(self, time_us: int) -> None:
        """Drop samples before a time."""
        if not self._rate:
            return
        needed = self._number_at(time_us)
        kept = []
        for piece in self._pieces:
            if piece.end > needed:
                drop = max(0, needed - piece.first)
                # A copy, so that the rest of the chunk's sound is freed.
                samples = piece.samples[:, drop:].copy() if drop else piece.samples
                kept.append(_Piece(piece.offset, piece.placed, piece.skipped + drop, samples, piece.gains))
        self._pieces = kept

    def snapshot(self) -> dict[str, Any]:
        """The place of each piece, without its samples."""
        pieces = [[piece.offset, piece.placed, piece.skipped, piece.samples.shape[1]] for piece in self._pieces]
        return {"origin_us": self._origin_us, "rate": self._rate, "pieces": pieces}

    @staticmethod
    def offsets_needed(snapshot: Snapshot) -> set[int]:
        """Offsets of the chunks from which the snapshot's pieces come."""
        return {piece[0] for piece in snapshot["pieces"]}

    def restore(self, snapshot: Snapshot, segments: Mapping[int, Segment | None]) -> None:
        """Put the pieces back in their places; sound that is gone counts as missing."""
        self._origin_us, self._rate, self._pieces = snapshot["origin_us"], snapshot["rate"], []
        for offset, placed, skipped, length in snapshot["pieces"]:
            segment = segments.get(offset)
            if segment is not None and segment.sound is not None and segment.sound.rate == self._rate:
                samples, gains = self._heard(segment.sound)
                self._pieces.append(_Piece(offset, placed, skipped, samples[:, skipped : skipped + length], gains))

    def _heard(self, sound: Sound) -> tuple[npt.NDArray[np.float32], Gains]:
        """[channels, samples] that are kept, and how much each counts."""
        return (sound.all_channels, sound.gains) if self._mixed else (sound.waveform[None], MONO)

    def _place(self, sound: Sound) -> int:
        """Number of the sound's first sample on the joined grid."""
        if sound.origin_us == self._origin_us:
            return sound.first_sample
        shift = round((sound.origin_us - self._origin_us) * self._rate / MICROSECONDS)
        number = sound.first_sample + shift
        if self._pieces and abs(number - self._pieces[-1].end) <= JOIN_TOLERANCE_S * self._rate:
            return self._pieces[-1].end
        return number

    def _number_at(self, time_us: int) -> int:
        """Number of the first sample at or after a time."""
        return -(-(time_us - self._origin_us) * self._rate // MICROSECONDS)
