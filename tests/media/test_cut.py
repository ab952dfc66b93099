"""Whatever the chunk length, cutting gives the same frames at the same times, and the same sound to the sample."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamfx.config.media import Media
from streamfx.errors import SourceError
from streamfx.media.audio import log_mel
from streamfx.media.cut import CutChunk, cut_video, default_start_us, duration_s
from streamfx.media.decode import open_decoder
from streamfx.media.orientation import orientation_of
from streamfx.media.sampling import MAX_SHOWN_US, sample_points
from streamfx.media.video_file import plan_cuts
from streamfx.records import Segment

START_US = 1_700_000_000_123_456
MEDIA = Media(backend="pyav")
LENGTHS_S = (1, 2, 5)

X264 = "libx264"
COPIED = {
    "h264 with B-frames, aac": {"options": {"g": "12", "bf": "3", "x264-params": "b-adapt=0"}},
    "h264 with open GOPs, mp2": {
        "container": "mpegts",
        "sound": "mp2",
        "options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=12:min-keyint=12:b-pyramid=normal"},
    },
    "mpeg-2 with open GOPs, mp2": {
        "container": "mpegts",
        "codec": "mpeg2video",
        "sound": "mp2",
        "options": {"g": "12", "bf": "2", "b": "2000000"},
    },
    "mpeg-1 program stream": {"container": "mpeg", "codec": "mpeg1video", "sound": "mp2", "options": {"g": "12"}},
    "hevc with open GOPs, ac3": {
        "container": "mpegts",
        "codec": "libx265",
        "sound": "ac3",
        "options": {"x265-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3:b-adapt=0:log-level=none"},
    },
    "vp9 and opus in webm": {
        "container": "webm",
        "codec": "libvpx-vp9",
        "sound": "libopus",
        "sound_rate": 48000,
        "options": {"g": "12", "b": "500000", "deadline": "realtime", "cpu-used": "8"},
    },
    "flv": {"container": "flv", "options": {"g": "12"}},
    "rotated by its metadata": {"rotation": 90, "options": {"g": "12"}},
    "odd sides": {"size": (65, 49), "options": {"g": "12"}},
    "without sound": {"sound": None, "options": {"g": "12"}},
    "with a silent track": {"loudness": 0.0, "options": {"g": "12"}},
    "variable frame rate": {
        "times_ms": [t + (0, 3, 11, 19)[i % 4] for i, t in enumerate(range(0, 6000, 33))],
        "options": {"g": "12", "bf": "2"},
    },
    "with stalls": {
        "times_ms": sorted({*range(0, 2000, 40), *range(3200, 6000, 40)}),
        "options": {"g": "10", "bf": "2"},
    },
}
ENCODED = {
    "one group of pictures": {"options": {"g": "1000"}},
    "gradual refresh": {"options": {"g": "12", "x264-params": "intra-refresh=1"}},
    "a codec that MP4 does not support": {
        "container": "webm",
        "codec": "libvpx",
        "sound": "libopus",
        "sound_rate": 48000,
        "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"},
    },
    "packets without presentation times": {
        "container": "avi",
        "codec": "mpeg4",
        "sound": "libmp3lame",
        "options": {"g": "300", "bf": "2"},
    },
}


def segments(path: Path, chunk_s: float) -> list[Segment]:
    decoder = open_decoder(MEDIA)
    return [decoder.decode(chunk.body, chunk.start_us) for chunk in cut_video(path, chunk_s, START_US)]


def sampled(parts: list[Segment]) -> dict[int, np.ndarray[Any, Any]]:
    """Pixels by sampling point; where chunks overlap, they must agree."""
    found: dict[int, np.ndarray[Any, Any]] = {}
    for part in parts:
        for frame in part.frames:
            pixels = np.asarray(frame.pixels)
            assert np.array_equal(found.setdefault(frame.sample_us, pixels), pixels)
    return found


def joined_sound(parts: list[Segment]) -> tuple[int, int, np.ndarray[Any, Any]] | None:
    """(first sample, rate, waveform) of pieces that meet exactly, all on one grid."""
    sounds = [part.sound for part in parts if part.sound is not None]
    if not sounds:
        return None
    assert len({(sound.origin_us, sound.rate) for sound in sounds}) == 1
    for before, after in pairwise(sounds):
        assert before.first_sample + before.waveform.size == after.first_sample
    return sounds[0].first_sample, sounds[0].rate, np.concatenate([sound.waveform for sound in sounds])


def decoded_whole(path: Path) -> tuple[dict[int, np.ndarray[Any, Any]], list[int]]:
    """The file decoded as a whole and without streamfx: pixels by sampling point, and all frame times."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            (round(frame.pts * frame.time_base * 10**6), orientation_of(frame).apply(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(stream)
        ]
    first = frames[0][0]
    times = [START_US + time - first for time, _ in frames]
    ends = [*times[1:], times[-1] + 40_000]
    return {
        point: pixels
        for (_, pixels), time, end in zip(frames, times, ends, strict=True)
        for point in sample_points(time, min(end - time, MAX_SHOWN_US), MEDIA.sample_period_us)
    }, times


def whole_sound(path: Path) -> np.ndarray[Any, Any] | None:
    """Channel 0 of the file's sound, decoded as a whole to float, from the time of the first frame on."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        first_video = min(f.pts * f.time_base for f, _ in zip(container.decode(video=0), range(1), strict=False))
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    values = [f.to_ndarray() if f.format.is_planar else f.to_ndarray().reshape(-1, 2).T for f in frames]
    wave = np.concatenate(values, axis=1)[0]
    wave = wave / 32768 if wave.dtype == np.int16 else wave
    lead = round((first_video - frames[0].pts * frames[0].time_base) * frames[0].sample_rate)
    return wave[max(0, lead) :]


@pytest.mark.parametrize("recipe", COPIED.values(), ids=COPIED.keys())
def test_copied_chunks_show_what_the_file_shows(recipe: dict[str, Any], make_clip: Callable[..., Path]) -> None:
    path = make_clip(**recipe)
    truth, times = decoded_whole(path)
    wave = whole_sound(path)
    sounds = []
    for chunk_s in (*LENGTHS_S, 100):
        assert plan_cuts(path, chunk_s * 10**6).remux or "times_ms" in recipe
        parts = segments(path, chunk_s)
        assert {START_US} <= {part.start_us for part in parts} <= set(times)
        seen = sampled(parts)
        last = max(truth)
        assert seen.keys() - {last} == truth.keys() - {last}
        if plan_cuts(path, chunk_s * 10**6).remux:
            assert all(np.array_equal(seen[point], truth[point]) for point in seen.keys() & truth.keys())
        sounds.append(joined_sound(parts))
    if wave is None:
        assert sounds == [None] * len(sounds)
        return
    for sound in sounds:
        assert sound is not None and sounds[0] is not None
        assert sound[:2] == sounds[0][:2]
        assert np.array_equal(sound[2], sounds[0][2])
        length = min(wave.size, sound[2].size)
        assert length > 5.5 * sound[1]
        assert np.abs(sound[2][:length] - np.clip(wave[:length], -1, 1)).max() <= 1 / 32768


@pytest.mark.parametrize("recipe", ENCODED.values(), ids=ENCODED.keys())
def test_encoded_chunks_keep_times_and_sound(recipe: dict[str, Any], make_clip: Callable[..., Path]) -> None:
    path = make_clip(**recipe)
    truth, _ = decoded_whole(path)
    whole = segments(path, 100)
    for chunk_s in LENGTHS_S:
        assert not plan_cuts(path, chunk_s * 10**6).remux or chunk_s == 5
        parts = segments(path, chunk_s)
        seen = sampled(parts)
        assert seen.keys() == sampled(whole).keys()
        for point in seen.keys() & truth.keys():
            assert np.abs(seen[point].astype(int) - truth[point]).mean() < 12
        sound, reference = joined_sound(parts), joined_sound(whole)
        assert sound is not None and reference is not None
        assert sound[:2] == reference[:2]
        assert np.array_equal(sound[2], reference[2])


def test_real_clips_are_the_same_in_any_chunks(shared_clips: list[Path]) -> None:
    """The clips are MPEG-1 with a keyframe every 12 frames, so they are copied."""
    for path in [clip for clip in shared_clips if clip.suffix == ".mpg"]:
        truth, _ = decoded_whole(path)
        banks = []
        for chunk_s in LENGTHS_S:
            assert plan_cuts(path, chunk_s * 10**6).remux
            parts = segments(path, chunk_s)
            seen = sampled(parts)
            assert seen.keys() == truth.keys()
            assert all(np.array_equal(seen[point], truth[point]) for point in truth)
            sound = joined_sound(parts)
            assert sound is not None
            banks.append(log_mel(sound[2][: 2 * sound[1]], sound[1]))
        assert np.abs(banks[0] - banks[1]).max() <= 1e-4
        assert np.abs(banks[0] - banks[2]).max() <= 1e-4


def test_a_real_clip_of_one_group_is_encoded(shared_clips: list[Path]) -> None:
    """240 frames of H.264 with one keyframe give the same sampling points and sound, whatever the chunk length."""
    (path,) = [clip for clip in shared_clips if clip.suffix == ".mp4"]
    points, sounds = [], []
    for chunk_s in (2, 5):
        assert not plan_cuts(path, chunk_s * 10**6).remux
        parts = segments(path, chunk_s)
        points.append([frame.sample_us for part in parts for frame in part.frames])
        sounds.append(joined_sound(parts))
    assert points[0] == points[1] and len(points[0]) == 64
    assert sounds[0] is not None and sounds[1] is not None
    assert np.array_equal(sounds[0][2], sounds[1][2])


def test_each_chunk_stands_alone_and_joins_the_next(make_clip: Callable[..., Path]) -> None:
    path = make_clip(options={"g": "12", "bf": "2"})
    chunks = list(cut_video(path, 1.0, START_US))
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[0].start_us == START_US
    for before, after in pairwise(chunks):
        assert before.start_us + before.duration_us == after.start_us
    assert sum(chunk.duration_us for chunk in chunks) == 6_000_000
    assert all(chunk.content_type == "video/mp4" and chunk.body[4:8] == b"ftyp" for chunk in chunks)
    for chunk in chunks:
        with av.open(io.BytesIO(chunk.body)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            assert packets[0].is_keyframe
            origin = {chunk.start_us - min(p.pts for p in packets)}
            assert origin == {START_US - 10_000_000}
            assert packets[0].time_base == Fraction(1, 1_000_000)


def test_the_same_file_gives_the_same_bytes(make_clip: Callable[..., Path]) -> None:
    for options in ({"g": "12"}, {"g": "1000"}):
        path = make_clip(seconds=3.0, options=options)
        first, second = (list(cut_video(path, 1.0, START_US)) for _ in range(2))
        assert first == second
        assert isinstance(first[0], CutChunk)


def test_sound_that_starts_late_has_a_hole_and_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "holes.mkv"
    rate = 16000
    tone = (np.sin(np.arange(rate) / 5) * 20000).astype(np.int16).reshape(1, -1)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"g": "12"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        voice = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for number in range(150):
            picture = np.full((48, 64, 3), number, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        for begin in (1.5, 3.5):
            sound = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = rate, round(begin * rate), Fraction(1, rate)
            out.mux(voice.encode(sound))
        out.mux(voice.encode(None))
    sounds = [joined_sound(segments(path, chunk_s)) for chunk_s in (*LENGTHS_S, 100)]
    for sound in sounds:
        assert sound is not None and sounds[0] is not None
        assert np.array_equal(sound[2], sounds[0][2])
        assert sound[2].size == 3 * rate
        assert not sound[2][rate + 800 : 2 * rate - 800].any()
        assert np.abs(sound[2][: rate // 2]).max() > 0.5 and np.abs(sound[2][-rate // 2 :]).max() > 0.5
        assert abs(sound[0] - (10 + 1.5) * rate) <= 16


def test_a_change_of_picture_size_within_a_file(two_sizes: Callable[[int], Path]) -> None:
    for group in (10, 1000):
        path = two_sizes(group)
        for chunk_s in (1, 100):
            parts = segments(path, chunk_s)
            sizes = [(frame.width, frame.height) for part in parts for frame in part.frames]
            assert len(sizes) == 16
            assert sizes == [(64, 48)] * 8 + [(96, 80)] * 8


def test_what_an_edit_list_hides_stays_hidden(make_clip: Callable[..., Path]) -> None:
    path = make_clip(seconds=3.0, sound=None, options={"g": "25", "bf": "0"})
    body = path.read_bytes()
    entry = body.index(b"elst") + 16
    path.write_bytes(body[:entry] + (13 * 512).to_bytes(4, "big") + body[entry + 4 :])
    truth, times = decoded_whole(path)
    assert len(times) == 75 - 13
    for chunk_s in (1, 100):
        seen = sampled(segments(path, chunk_s))
        assert seen.keys() == truth.keys()
        assert all(np.abs(seen[point].astype(int) - truth[point]).mean() < 12 for point in truth)
    whole = open_decoder(MEDIA).decode(path.read_bytes(), START_US)
    assert whole.frames_decoded == len(times)
    assert all(np.array_equal(frame.pixels, truth[frame.sample_us]) for frame in whole.frames)


def test_the_start_is_the_creation_time_else_the_modification_time(make_clip: Callable[..., Path]) -> None:
    tagged = make_clip(seconds=1.0, metadata={"creation_time": "2024-03-01T10:20:30.000000Z"})
    assert default_start_us(tagged) == 1_709_288_430_000_000
    plain = make_clip(seconds=1.0)
    assert default_start_us(plain) == plain.stat().st_mtime_ns // 1000
    assert next(cut_video(tagged, 1.0)).start_us == default_start_us(tagged)


def test_duration(make_clip: Callable[..., Path]) -> None:
    assert duration_s(make_clip(seconds=3.0)) == pytest.approx(3.0, abs=0.1)


def test_a_file_that_is_not_a_video_raises_source_error(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("this is not a video\n" * 100)
    sound_only = tmp_path / "voice.wav"
    with av.open(str(sound_only), "w") as out:
        voice = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        out.mux(voice.encode(sound))
    for path, sentence in (
        (text, "cannot read .*notes.mp4 as a video"),
        (tmp_path / "absent.mp4", "No such file"),
        (sound_only, "expected a video track"),
    ):
        with pytest.raises(SourceError, match=sentence):
            next(cut_video(path, 1.0))
        with pytest.raises(SourceError):
            duration_s(path)
    with pytest.raises(SourceError, match="longer than 0 s"):
        next(cut_video(make_clip(seconds=1.0), 0))


@pytest.mark.parametrize("container", ["mp4", "avi", "matroska"])
def test_a_title_that_is_not_utf8_does_not_prevent_cutting(container: str, make_clip: Callable[..., Path]) -> None:
    path = make_clip(container=container, seconds=2.0, metadata={"title": "Mxllers"})
    path.write_bytes(path.read_bytes().replace(b"Mxllers", b"M\xfcllers"))
    chunks = list(cut_video(path, 1.0))
    assert b"\xfc" in path.read_bytes() and len(chunks) == 2
    decoder = open_decoder(MEDIA)
    assert sum(decoder.decode(chunk.body, chunk.start_us).frames_decoded for chunk in chunks) == 50


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_chunk_with_a_title_that_is_not_utf8_is_decoded(container: str, make_clip: Callable[..., Path]) -> None:
    path = make_clip(container=container, seconds=1.0, metadata={"title": "Mxllers"})
    body = path.read_bytes().replace(b"Mxllers", b"M\xfcllers")
    assert open_decoder(MEDIA).decode(body, START_US).frames_decoded == 25
