"""A decoded chunk contains upright frames on the sampling grid, with their times, and sound on its sample grid."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfx.config.media import Media
from streamfx.errors import MissingComponent
from streamfx.media.cut import cut_video
from streamfx.media.decode import chosen_backend, decode, open_decoder
from streamfx.media.sampling import MAX_SHOWN_US

START_US = 1_700_000_000_000_000
PYAV = Media(backend="pyav")


def test_sampled_frames_cover_the_grid(chunk_body: Callable[..., bytes]) -> None:
    for fps in (1.0, 8.0, 60.0):
        media = Media(backend="pyav", sample_fps=fps)
        segment = decode(chunk_body(), START_US, media)
        assert segment.frames_decoded == 50
        assert (segment.start_us, segment.end_us) == (START_US, START_US + 2_000_000)
        points = [frame.sample_us for frame in segment.frames]
        period = media.sample_period_us
        assert points == [
            p for p in range(START_US - START_US % period + period // 2, segment.end_us, period) if p >= START_US
        ]
        for frame in segment.frames:
            assert frame.time_us <= frame.sample_us < frame.time_us + frame.duration_us
            assert frame.duration_us == 40_000
            assert frame.pixels.dtype == np.uint8 and frame.pixels.shape == (48, 64, 3)


def test_a_frame_is_sampled_at_the_middle_of_its_interval(chunk_body: Callable[..., bytes]) -> None:
    segment = decode(chunk_body(), START_US - START_US % 2_000_000, PYAV)
    middles = [segment.start_us + (2 * i + 1) * 62_500 for i in range(16)]
    assert [frame.sample_us for frame in segment.frames] == middles
    assert [(frame.time_us - segment.start_us) // 40_000 for frame in segment.frames] == [
        int(50 / 32 + i * 50 / 16) for i in range(16)
    ]


def test_a_frozen_picture_counts_for_a_limited_time(make_clip: Callable[..., Path]) -> None:
    path = make_clip(times_ms=[0, 40, 80, 3000, 3040], sound=None)
    (chunk,) = cut_video(path, 60, START_US)
    segment = decode(chunk.body, chunk.start_us, PYAV)
    gap = [f.sample_us - START_US for f in segment.frames if 80_000 <= f.time_us - START_US < 3_000_000]
    assert max(gap) < 80_000 + MAX_SHOWN_US
    assert len({id(frame.pixels) for frame in segment.frames if frame.time_us == START_US + 80_000}) == 1


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_turned_upright(rotation: int, chunk_body: Callable[..., bytes]) -> None:
    plain, turned = (
        decode(chunk_body(container="mp4", rotation=turn, options={"bf": "0"}), START_US, PYAV)
        for turn in (None, rotation)
    )
    for before, after in zip(plain.frames, turned.frames, strict=True):
        assert np.array_equal(np.rot90(np.asarray(before.pixels), rotation // 90), np.asarray(after.pixels))


def test_a_mirrored_picture_is_turned_back(make_clip: Callable[..., Path]) -> None:
    body = next(cut_video(make_clip(seconds=1.0), 1.0)).body
    identity = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    mirror = np.array([-1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    at = body.index(identity, body.index(b"tkhd"))
    plain = decode(body, START_US, PYAV)
    mirrored = decode(body[:at] + mirror + body[at + len(mirror) :], START_US, PYAV)
    assert np.array_equal(np.asarray(plain.frames[0].pixels)[:, ::-1], np.asarray(mirrored.frames[0].pixels))


def test_sound_is_channel_0_at_its_own_rate(chunk_body: Callable[..., bytes], tone: Callable[..., Any]) -> None:
    sound = decode(chunk_body(container="matroska", sound="flac", sound_rate=22050), START_US, PYAV).sound
    assert sound is not None
    assert (sound.rate, sound.first_sample, sound.origin_us) == (22050, 0, START_US)
    assert sound.waveform.dtype == np.float32 and sound.waveform.ndim == 1
    assert np.array_equal(sound.waveform, tone(22050, 2.0, 0.3)[0].astype(np.float32) / 32768)


def test_sound_and_video_share_the_clock(chunk_body: Callable[..., bytes]) -> None:
    segment = decode(chunk_body(sound="mp2"), START_US, PYAV)
    assert segment.sound is not None
    assert segment.sound.origin_us + segment.sound.first_sample * 10**6 / 44100 == pytest.approx(START_US, abs=50_000)


def test_no_sound_and_silence_are_different(chunk_body: Callable[..., bytes]) -> None:
    assert decode(chunk_body(sound=None), START_US, PYAV).sound is None
    silent = decode(chunk_body(loudness=0.0, sound="mp2"), START_US, PYAV).sound
    assert silent is not None and not silent.waveform.any()


@pytest.mark.parametrize(
    "recipe",
    [
        {
            "container": "webm",
            "codec": "libvpx",
            "sound": "libopus",
            "sound_rate": 48000,
            "options": {"deadline": "realtime"},
        },
        {"container": "mpeg", "codec": "mpeg1video", "sound": "mp2"},
        {"container": "mp4", "options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
        {"container": "mp4"},
    ],
    ids=["webm", "program stream", "fragmented mp4", "plain mp4"],
)
def test_chunks_from_third_parties(recipe: dict[str, Any], chunk_body: Callable[..., bytes]) -> None:
    segment = decode(chunk_body(**recipe), START_US, PYAV)
    assert (len(segment.frames), segment.frames_decoded) == (16, 50)
    assert segment.sound is not None
    assert 1.9 < segment.sound.waveform.size / segment.sound.rate < 2.1


def test_threads_do_not_change_the_pixels(make_clip: Callable[..., Path]) -> None:
    for chunk in cut_video(make_clip(options={"g": "25", "bf": "3"}), 1.0, START_US):
        one, four = (
            open_decoder(Media(backend="pyav", threads=threads)).decode(chunk.body, chunk.start_us)
            for threads in (1, 4)
        )
        assert [f.sample_us for f in one.frames] == [f.sample_us for f in four.frames]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one.frames, four.frames, strict=True))


@pytest.mark.parametrize(
    "recipe",
    [
        {"options": {"g": "12", "bf": "3"}},
        {"options": {"g": "12"}, "rotation": 90},
        {"options": {"g": "1000"}, "size": (65, 49)},
        {"options": {"g": "12"}, "times_ms": [t + t % 7 for t in range(0, 3000, 45)]},
        {
            "container": "mpegts",
            "codec": "mpeg2video",
            "sound": "mp2",
            "options": {"g": "12", "bf": "2", "b": "2000000"},
        },
    ],
    ids=["B-frames", "turned", "odd sides", "variable rate", "open GOPs"],
)
def test_decord_gives_the_same_frames_as_pyav(recipe: dict[str, Any], make_clip: Callable[..., Path]) -> None:
    path = make_clip(seconds=3.0, **recipe)
    for chunk in cut_video(path, 1.0, START_US):
        pyav = decode(chunk.body, chunk.start_us, PYAV)
        decord = decode(chunk.body, chunk.start_us, Media(backend="decord"))
        assert len(pyav.frames) == len(decord.frames) > 0
        for a, b in zip(pyav.frames, decord.frames, strict=True):
            assert (a.time_us, a.duration_us, a.sample_us) == (b.time_us, b.duration_us, b.sample_us)
            assert np.array_equal(a.pixels, b.pixels)
        assert pyav.sound is not None and decord.sound is not None
        assert np.array_equal(pyav.sound.waveform, decord.sound.waveform)


def test_decord_gives_the_same_frames_of_real_clips(shared_clips: list[Path]) -> None:
    for path in shared_clips[:2]:
        chunk = next(cut_video(path, 2.0, START_US))
        pyav, decord = (decode(chunk.body, START_US, Media(backend=name)) for name in ("pyav", "decord"))
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(pyav.frames, decord.frames, strict=True))


def test_auto_chooses_a_backend_that_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_backend("decord") == "decord"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen_backend("auto") == "pyav"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for installed in (False, True):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, there=installed: name if there else None)
        assert chosen_backend("auto") == ("gpu" if installed else "pyav")


def test_a_backend_that_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MissingComponent, match="pip install decord"):
        open_decoder(Media(backend="decord"))
