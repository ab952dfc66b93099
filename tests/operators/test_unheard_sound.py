"""Where no operator hears, windows hold the constant of a window without sound, and say all the same whether there was
any."""

from __future__ import annotations

import numpy as np
import pytest
from streamfx_operators import windows
from streamfx_operators.windows import Windows, WindowsConfig

from streamfx.media.audio import missing_sound
from streamfx.models.contract import FAITHFUL, SoundInput
from streamfx.records import CropBox, FaceInFrame, Frame, Segment, Sound, TrackedFrame, Window
from streamfx.train.scorer import offline_context

START_US, PERIOD_US, RATE = 1_700_000_000_000_000, 125_000, 16_000
FACE = FaceInFrame(START_US, 0, CropBox(12, 12, 16, 0, 24, 24), 0.9, 16.0, detected=True)


def closed_by(heard: SoundInput | None, sounding_s: float) -> list[Window]:
    """The windows of two seconds of a face, the first `sounding_s` of them with sound."""
    operator = Windows(WindowsConfig(crop_px=16, hop_s=2.0), offline_context(PERIOD_US, heard))
    times = [START_US + k * PERIOD_US for k in range(16)]
    frames = [Frame(at, PERIOD_US, at + PERIOD_US // 2, np.zeros((24, 24, 3), np.uint8)) for at in times]
    waveform = np.random.default_rng(1).uniform(-0.5, 0.5, int(sounding_s * RATE)).astype(np.float32)
    sound = Sound(START_US, 0, RATE, waveform) if sounding_s else None
    segment = Segment(START_US, START_US + 2_000_000, frames, sound, 16)
    return operator.add("s", 0, segment, [TrackedFrame(0, frame, [FACE], []) for frame in frames])


@pytest.mark.parametrize(("sounding_s", "present"), [(2.0, True), (0.5, False), (0.0, False)])
def test_the_bank_is_not_computed_and_the_rows_say_whether_there_was_sound(
    sounding_s: float, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [heard] = closed_by(FAITHFUL, sounding_s)
    assert heard.audio_present is present
    assert bool(sounding_s) != np.array_equal(heard.fbank, missing_sound())
    monkeypatch.setattr(windows, "log_mel", lambda *_: pytest.fail("nobody asks for the filter bank"))
    [unheard] = closed_by(None, sounding_s)
    assert unheard.audio_present is present
    np.testing.assert_array_equal(unheard.fbank, missing_sound())
    np.testing.assert_array_equal(unheard.frames, heard.frames)


def test_what_windows_without_sound_share_cannot_be_written_to() -> None:
    [window] = closed_by(None, 2.0)
    with pytest.raises(ValueError, match="read-only"):
        window.fbank[0, 0] = 1
