"""Which sound is used: a track is chosen by its mark and its sound, and all its channels count, for every input."""

from __future__ import annotations

import io
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.odd_sounds import SILENT, Track, voice, write_video

from streamfx.config.media import Media
from streamfx.media.cut import cut_video
from streamfx.media.decode import ChunkDecoder, decode
from streamfx.media.downmix import flac_gains, gains_of, mix, storable
from streamfx.media.pyav_decoder import PyavPictures
from streamfx.records import Sound

START_US = 1_700_000_000_000_000
MEDIA = Media(backend="pyav")
LOW, HIGH = 300.0, 700.0
Array = np.ndarray[Any, Any]


def in_file(tmp_path: Path, tracks: list[Track], container: str = "matroska", **options: Any) -> list[Sound | None]:
    """The sound of each 2 s chunk that the cutter makes from a file."""
    path = tmp_path / "video.bin"
    write_video(path, tracks, container=container)
    return [decode(chunk.body, chunk.start_us, MEDIA).sound for chunk in cut_video(path, 2.0, START_US, **options)]


def in_chunk(tracks: list[Track], container: str = "matroska", media: Media = MEDIA) -> Sound | None:
    """The sound of a chunk from a third party."""
    body = io.BytesIO()
    write_video(body, tracks, 2.0, container)
    return decode(body.getvalue(), START_US, media).sound


def pitch(sound: Sound | None) -> float:
    """The loudest frequency of channel 0, Hz, rounded to ten; 0 for silence."""
    assert sound is not None
    power = np.abs(np.fft.rfft(sound.waveform.astype(np.float64)))
    return 0.0 if power.max() < 1e-3 else round(float(power.argmax() * sound.rate / sound.waveform.size), -1)


CASES = {
    "the default one, behind a silent one": ([SILENT, Track(disposition="default")], LOW),
    "the default one, behind one that speaks": ([Track(hertz=HIGH), Track(disposition="default")], LOW),
    "the first with sound of several defaults": (
        [
            Track(speaks=(), disposition="default"),
            Track(disposition="default"),
            Track(hertz=HIGH, disposition="default"),
        ],
        LOW,
    ),
    "the one that speaks, though the default one is silent": ([Track(speaks=(), disposition="default"), Track()], LOW),
    "commentary comes last": ([Track(hertz=HIGH, disposition="comment"), Track()], LOW),
    "a description for the blind comes last": ([Track(hertz=HIGH, disposition="visual_impaired"), Track()], LOW),
    "silence, where all are silent": ([SILENT, SILENT], 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_the_right_one_of_several_tracks_is_used(case: str, tmp_path: Path) -> None:
    tracks, heard = CASES[case]
    assert [pitch(sound) for sound in in_file(tmp_path, tracks)] == [heard, heard]
    assert pitch(in_chunk(tracks)) == heard


@pytest.mark.parametrize("container", ["mp4", "mov", "mpegts"])
def test_a_silent_first_track_is_skipped_in_every_container(container: str, tmp_path: Path) -> None:
    codec = "mp2" if container == "mpegts" else "aac"
    tracks = [Track(speaks=(), codec=codec), Track(codec=codec)]
    assert [pitch(sound) for sound in in_file(tmp_path, tracks, container)] == [LOW, LOW]
    assert pitch(in_chunk(tracks, container)) == LOW


def test_a_track_that_starts_late_is_used_from_where_it_begins(tmp_path: Path) -> None:
    before, after = in_file(tmp_path, [SILENT, Track(starts_s=2.5, disposition="default")])
    assert before is None
    assert pitch(after) == LOW and after is not None
    assert after.first_sample / after.rate == pytest.approx(10 + 2.5, abs=0.01)


def test_the_configuration_may_name_the_track(tmp_path: Path) -> None:
    tracks = [Track(), Track(hertz=HIGH)]
    assert [pitch(sound) for sound in in_file(tmp_path, tracks, sound_track=1)] == [HIGH, HIGH]
    assert pitch(in_chunk(tracks, media=Media(backend="pyav", sound_track=1))) == HIGH


def test_a_track_number_that_does_not_exist_is_logged_and_auto_decides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [pitch(sound) for sound in in_file(tmp_path, [SILENT, Track()], sound_track=5)] == [LOW, LOW]
    assert "sound track 5 was requested" in caplog.text
    caplog.clear()
    assert pitch(in_chunk([Track()], media=Media(backend="pyav", sound_track=1))) == LOW
    assert not caplog.text


def test_the_choice_in_a_file_is_logged_once_with_its_name_and_the_option(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamfx")
    in_file(tmp_path, [SILENT, Track(disposition="default")])
    (line,) = [record.getMessage() for record in caplog.records if "sound track" in record.getMessage()]
    assert "track 1 of 2 (marked default, 16000 Hz, 1 channels)" in line
    assert line.startswith(f"{tmp_path / 'video.bin'}: ") and "media.sound_track" in line and "--sound-track" in line


def test_the_choice_among_the_tracks_of_chunks_is_logged_once_per_decoder(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamfx")
    body = io.BytesIO()
    write_video(body, [SILENT, Track()], 1.0)
    decoder = ChunkDecoder(MEDIA, PyavPictures())
    for _ in range(3):
        decoder.decode(body.getvalue(), START_US)
    assert len([record for record in caplog.records if "sound track" in record.getMessage()]) == 1


LAYOUTS = {
    "5.1, speech in the centre": ("5.1", (2,), 1.0),
    "7.1, speech in the centre": ("7.1", (2,), 1.0),
    "mono": ("mono", (0,), 1.0),
    "dual mono": ("stereo", (0, 1), 1.0),
    "dual mono, one channel dead": ("stereo", (1,), 1.0),
    "quad, speech behind": ("quad", (3,), 1.0),
    "only the low-frequency channel": ("5.1", (3,), 0.0),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_all_channels_are_mixed(case: str, tmp_path: Path) -> None:
    layout, speaks, gain = LAYOUTS[case]
    track = Track(layout, speaks, 48_000, codec="pcm_s16le")
    spoken = voice(48_000, 2.0).astype(np.float64) / 32768
    first, _ = in_file(tmp_path, [track])
    assert first is not None
    assert mix(first.all_channels, first.gains) == pytest.approx(spoken * gain, abs=2e-5)
    direct = in_chunk([track])
    assert direct is not None
    assert mix(direct.all_channels, direct.gains) == pytest.approx(spoken * (1.0 if gain else 0.0), abs=2e-5)


def test_the_mix_is_the_stated_formula() -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, (6, 1000)).astype(np.float32)
    left, right, centre, _, back_left, back_right = noise.astype(np.float64)
    wanted = (left + right) / 2 + centre * 0.5**0.5 + (back_left + back_right) * 0.5**1.5
    assert mix(noise, flac_gains(6)) == pytest.approx(wanted, abs=1e-6)
    assert mix(noise[:2], flac_gains(2)) == pytest.approx((left + right) / 2, abs=1e-6)
    assert np.array_equal(mix(noise[:1], flac_gains(1)), noise[0])


def test_a_layout_that_flac_lacks_keeps_channel_0_and_the_mean_of_the_others() -> None:
    four = np.array([[8, 80], [6, 60], [30, 300], [0, 0]], np.int16)
    assert storable(four, gains_of(av.AudioLayout("4.0"))).tolist() == [[8, 80], [12, 120]]
    assert storable(four, gains_of(av.AudioLayout("quad"))).tolist() == four.tolist()
    assert storable(four[:3], gains_of(av.AudioLayout("2.1"))).tolist() == [[8, 80], [6, 60]]


def test_channel_0_is_the_sound_that_the_models_authors_use(tmp_path: Path) -> None:
    for sound in in_file(tmp_path, [Track("stereo", (0,), 44_100)]):
        assert sound is not None
        assert np.array_equal(sound.waveform, sound.all_channels[0])
        assert sound.waveform.any()


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize("rate", [11_025, 44_100, 96_000])
def test_pieces_join_to_the_sample_with_all_channels(layout: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    track = Track(layout, range(8), rate)
    write_video(path, [track])
    for length_s in (1.0, 2.0, 5.0):
        sounds = [decode(chunk.body, chunk.start_us, MEDIA).sound for chunk in cut_video(path, length_s, START_US)]
        pieces = [sound for sound in sounds if sound is not None]
        assert all(a.first_sample + a.waveform.size == b.first_sample for a, b in pairwise(pieces))
        joined = np.concatenate([sound.all_channels for sound in pieces], axis=1)
        assert np.array_equal(joined, track.samples(4.0).astype(np.float32) / 32768)
