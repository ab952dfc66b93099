"""What a model hears: windows hold the filter bank of the sound that the model asked for, wherever chunks were cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from helpers.segments import Stream, context, through_json
from streamfx_operators.windows import Windows, WindowsConfig

from streamfx.media.audio import log_mel
from streamfx.media.resample import resampled
from streamfx.models.contract import FAITHFUL, SoundInput
from streamfx.records import MICROSECONDS, CropBox, FaceInFrame, Segment, TrackedFrame, Window

ASKED = SoundInput(16_000, "mix")
SECONDS = 4
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000)
Array = np.ndarray[Any, Any]
BOX = CropBox(32.0, 32.0, 40.0, 0.0, 64, 64)


def chirp(rate: int) -> Array:
    """Rises from 100 Hz to 3.4 kHz in `SECONDS`, so that every rate can hold it."""
    t = np.arange(rate * SECONDS) / rate
    return (0.3 * np.sin(2 * np.pi * (100 + 400 * t) * t)).astype(np.float32)


def windows_of(segments: list[Segment], sound: SoundInput, restart_after: int | None = None) -> list[Window]:
    """The windows of one face that is always there; the operator may be replaced by its snapshot on the way."""
    operator = Windows(WindowsConfig(), replace(context(), sound=sound))
    closed: list[Window] = []
    for offset, segment in enumerate(segments):
        face = FaceInFrame(0, 0, BOX, 0.9, 40.0, True)
        closed += operator.add("s", offset, segment, [TrackedFrame(offset, f, [face], []) for f in segment.frames])
        if offset == restart_after:
            kept = through_json(operator.snapshot("s"))
            operator = Windows(WindowsConfig(), replace(context(), sound=sound))
            operator.restore("s", kept, dict(enumerate(segments)))
    return closed + operator.end_stream("s", len(segments))


def stream(rate: int, channels: Array | None = None, gains: tuple[float, ...] = (1.0,)) -> Stream:
    """A stream on whole seconds, with a chirp or with these channels."""
    made = Stream(
        25 * SECONDS, lambda n: np.full((64, 64, 3), n, np.uint8), start_us=1_700_000_000 * MICROSECONDS, rate=rate
    )
    made.sound = chirp(rate) if channels is None else channels[0]
    return made


def with_channels(segments: list[Segment], channels: Array, gains: tuple[float, ...]) -> list[Segment]:
    """The segments with all channels of their sound."""
    for segment in segments:
        sound = segment.sound
        assert sound is not None
        part = channels[:, sound.first_sample : sound.first_sample + sound.waveform.size]
        sound.channels, sound.gains = part, gains
    return segments


@pytest.mark.parametrize("rate", RATES)
def test_the_same_sound_is_the_same_at_every_rate(rate: int) -> None:
    """Where the sound has something to say: 8 kHz files hold nothing above 4 kHz."""
    reference = windows_of(stream(16_000).cut(), ASKED)
    heard = windows_of(stream(rate).cut(), ASKED)
    assert len(heard) == len(reference) > 3
    loud = np.stack([w.fbank[:198] for w in reference])[1:-1] > 0
    difference = np.abs(
        np.stack([w.fbank[:198] for w in heard])[1:-1] - np.stack([w.fbank[:198] for w in reference])[1:-1]
    )
    assert difference[loud].max() < 0.05


def test_the_files_own_rate_moves_the_bands() -> None:
    """What goes wrong without it, and what the authors' nets are fed all the same."""
    tone = lambda rate: np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate).astype(np.float32)  # noqa: E731
    loudest = {rate: int(log_mel(tone(rate), rate)[50].argmax()) for rate in (16_000, 48_000)}
    assert loudest[16_000] - loudest[48_000] > 10
    asked = {rate: int(log_mel(*resampled(tone(rate), rate, 16_000))[50].argmax()) for rate in RATES}
    assert set(asked.values()) == {loudest[16_000]}


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_no_cut_and_no_restart_is_heard(rate: int) -> None:
    whole = windows_of(stream(rate).cut(), ASKED)
    for borders in ([25, 50, 75], [50], [13, 26, 77]):
        for cut in (windows_of(stream(rate).cut(borders), ASKED), windows_of(stream(rate).cut(borders), ASKED, 1)):
            assert len(cut) == len(whole)
            assert all(np.array_equal(a.fbank, b.fbank) for a, b in zip(cut, whole, strict=True))


def test_no_cut_is_heard_in_a_mix() -> None:
    rate, gains = 44_100, (0.5, 0.5)
    channels = np.stack([chirp(rate), np.zeros_like(chirp(rate))])
    channels[1, 2 * rate :] = chirp(rate)[2 * rate :]
    cuts = [
        windows_of(with_channels(stream(rate, channels).cut(borders), channels, gains), ASKED)
        for borders in ([], [25, 50, 75], [13, 26, 77])
    ]
    for one, other in combinations(cuts, 2):
        assert all(np.array_equal(a.fbank, b.fbank) for a, b in zip(one, other, strict=True))


def test_faithful_is_channel_0_at_the_files_own_rate_to_the_bit() -> None:
    rate = 44_100
    channels = np.stack([chirp(rate), np.flip(chirp(rate))])
    segments = with_channels(stream(rate, channels).cut([50]), channels, (0.5, 0.5))
    for window in windows_of(segments, FAITHFUL):
        first = (window.start_us - segments[0].start_us) * rate // MICROSECONDS
        part = np.zeros(2 * rate, np.float32)
        low, high = max(first, 0), min(first + 2 * rate, channels.shape[1])
        part[low - first : high - first] = channels[0, low:high]
        assert np.array_equal(window.fbank, log_mel(part, rate))


def test_a_change_of_layout_on_the_way_is_heard_through() -> None:
    rate = 16_000
    sound = chirp(rate)
    segments = stream(rate).cut([50])
    stereo = segments[1].sound
    assert stereo is not None
    stereo.channels, stereo.gains = np.stack([stereo.waveform] * 2), (0.5, 0.5)
    for window, plain in zip(windows_of(segments, ASKED), windows_of(stream(rate).cut(), ASKED), strict=True):
        assert np.allclose(window.fbank, plain.fbank, atol=1e-4)
    assert sound.any()


@pytest.mark.parametrize("rate", [2_000, 7_999, 44_101, 191_999, 767_999])
def test_any_rate_gives_the_right_number_of_samples(rate: int) -> None:
    heard, at = resampled(np.full(2 * rate, 0.25, np.float32), rate, 16_000)
    assert at == 16_000 and heard.shape == (32_000,)
    assert heard[100:-100] == pytest.approx(0.25, abs=1e-3)
