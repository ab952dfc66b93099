"""The filter bank equals Kaldi's: it is compared with the formula written in numpy, and with stored values of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamfx.errors import MissingComponent
from streamfx.media.audio import log_mel, missing_sound
from streamfx.media.kaldi import load_torchaudio_kaldi

REFERENCE = json.loads((Path(__file__).parent / "fbank_reference.json").read_text())
Array = np.ndarray[Any, Any]


def chirp(rate: int, seconds: float) -> Array:
    """A rising tone with a beat added, which anyone can reproduce."""
    t = np.arange(int(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * (120 + 350 * t) * t) + 0.1 * np.sin(2 * np.pi * 2500 * t) * np.cos(9 * t)).astype(
        np.float32
    )


def kaldi_log_mel(waveform: Array, rate: int) -> Array:
    """Kaldi's filter bank in float64: mean removal, pre-emphasis, Hanning, power spectrum, mel bands, logarithm."""
    wave = waveform.astype(np.float64)
    wave = wave - wave.mean()
    length, shift = int(rate * 0.025), int(rate * 0.010)
    count = 1 + (len(wave) - length) // shift
    frames = np.stack([wave[i * shift : i * shift + length] for i in range(count)])
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1)))
    size = 1 << (length - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    mel = lambda hertz: 1127.0 * np.log1p(np.asarray(hertz) / 700.0)  # noqa: E731
    edges = np.linspace(mel(20.0), mel(rate / 2), 130)
    at = mel(np.arange(size // 2) * rate / size)
    up = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(up, down))
    rows = np.log(np.maximum(power[:, : size // 2] @ triangles.T, np.finfo(np.float32).eps))
    padded = np.zeros((512, 128))
    padded[: min(512, count)] = rows[:512]
    return (padded + 4.2677393) / (2 * 4.5689974)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_the_filter_bank_matches_the_formula(rate: int) -> None:
    for seconds in (0.3, 6.0):
        wave = chirp(rate, seconds)
        assert log_mel(wave, rate) == pytest.approx(kaldi_log_mel(wave, rate), abs=2e-3)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"{case['rate']} Hz")
def test_the_filter_bank_matches_the_stored_values(case: dict[str, Any]) -> None:
    bank = log_mel(chirp(case["rate"], REFERENCE["seconds"]), case["rate"])
    assert bank.shape == (512, 128) and bank.dtype == np.float32
    assert bank[np.ix_(REFERENCE["rows"], REFERENCE["bins"])] == pytest.approx(np.array(case["values"]), abs=1e-3)


def test_mono_and_stereo() -> None:
    left, right = chirp(16000, 1.0), np.full(16000, 0.25, np.float32)
    assert np.array_equal(log_mel(left, 16000), log_mel(left[None], 16000))
    both = log_mel(np.stack([left, right]), 16000)
    assert both == pytest.approx(log_mel(left, 16000), abs=5e-3)


def test_padding_and_missing_sound_are_one_constant() -> None:
    constant = 4.2677393 / (2 * 4.5689974)
    assert missing_sound().shape == (512, 128) and missing_sound().dtype == np.float32
    assert missing_sound() == pytest.approx(constant)
    assert log_mel(chirp(16000, 1.0), 16000)[98:] == pytest.approx(constant)


@pytest.mark.parametrize("samples", [0, 1, 2, 399])
def test_less_than_one_frame_is_missing_sound(samples: int) -> None:
    assert np.array_equal(log_mel(chirp(16000, 1.0)[:samples], 16000), missing_sound())


def test_silence_is_not_missing_sound() -> None:
    bank = log_mel(np.zeros(32000, np.float32), 16000)
    assert np.isfinite(bank).all()
    assert (bank[:198] < -1).all() and (bank[198:] > 0).all()


def test_torchaudio_loads_with_this_build_of_torch() -> None:
    """This runs in a separate process, because the stub takes effect at the first import."""
    script = (
        "import sys, torch; from streamfx.media.kaldi import load_torchaudio_kaldi as load; "
        "kaldi = load(); import torchaudio, torchaudio._extension as native; "
        "print(callable(kaldi.fbank), load() is kaldi, hasattr(native, '__file__'), torch.version.cuda is not None)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    loaded, again, native, cuda = (word == "True" for word in ran.stdout.split())
    assert loaded and again
    assert native == cuda


def test_the_stub_raises_an_error_where_native_code_is_needed() -> None:
    load_torchaudio_kaldi()
    if torch.version.cuda is not None:
        pytest.skip("a CUDA torch loads torchaudio's own extension")
    from torchaudio.functional import forced_align

    with pytest.raises(RuntimeError, match="native extension"):
        forced_align(torch.zeros(1, 4, 3), torch.ones(1, 2, dtype=torch.int32))


def test_without_torchaudio_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingComponent, match="pip install torchaudio"):
        load_torchaudio_kaldi()
