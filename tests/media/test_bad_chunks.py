"""Every bad chunk is refused with a stable reason, quickly, and with memory in proportion to its size."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import bad_media
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media import chunk_media
from streamfx.media.cut import cut_video
from streamfx.media.decode import decode

START_US = 1_700_000_000_000_000
MEDIA = Media(backend="pyav")


@pytest.fixture
def mp4(make_clip: Callable[..., Path]) -> bytes:
    return next(cut_video(make_clip(seconds=2.0), 2.0)).body


@pytest.fixture
def ts(chunk_body: Callable[..., bytes]) -> bytes:
    return chunk_body()


def reason(body: bytes, media: Media = MEDIA) -> str:
    with pytest.raises(BadChunk) as caught:
        decode(body, START_US, media)
    assert caught.value.fate == "undecodable"
    return caught.value.reason


def changed(body: bytes, box: bytes, offset: int, new: bytes) -> bytes:
    """The body with `new` written `offset` bytes after the first `box` name."""
    at = body.index(box) + offset
    return body[:at] + new + body[at + len(new) :]


def sparse(step_s: int) -> bytes:
    """Three pictures, `step_s` apart."""
    body = io.BytesIO()
    with av.open(body, "w", format="matroska") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number * step_s * 1000, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return body.getvalue()


@pytest.fixture(autouse=True)
def modest_memory() -> Iterator[None]:
    """No bad chunk may increase the process's memory by more than 256 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def test_an_empty_body() -> None:
    assert reason(b"") == "empty"


@pytest.mark.parametrize(
    "body",
    [
        b"this is not a video\n" * 100,
        bytes(5000),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        np.random.default_rng(3).bytes(20_000),
    ],
    ids=["text", "zeros", "playlist", "concat list", "noise"],
)
def test_no_media(body: bytes) -> None:
    assert reason(body) == "not_media"


def test_truncated_bodies(mp4: bytes, ts: bytes) -> None:
    for part in (0.3, 0.7, 0.99):
        assert reason(mp4[: int(len(mp4) * part)]) == "truncated"
    assert reason(ts[: len(ts) // 2 // 188 * 188 + 100]) == "truncated"
    assert reason(mp4 + b"\0\0") == "truncated"


def test_wrong_box_lengths(mp4: bytes) -> None:
    assert reason(changed(mp4, b"mdat", -4, b"\xff\xff\xff\xff")) == "truncated"
    assert reason(changed(mp4, b"mdat", -4, b"\0\0\0\1")) in ("truncated", "corrupt")
    assert reason(changed(mp4, b"trak", -4, b"\xff\xff\xff\xff")) == "corrupt"
    assert reason(changed(mp4, b"stts", 8, b"\xff\xff\xff\xff")) == "corrupt"


def test_tables_that_declare_billions_of_samples(mp4: bytes) -> None:
    assert reason(changed(mp4, b"trun", 8, b"\xff\xff\xff\xff")) == "too_many_frames"
    assert reason(changed(mp4, b"trun", 4, b"\0\0\0\0\x7f\0\0\0")) == "too_many_frames"
    assert reason(changed(mp4, b"trun", 4, b"\0\0\0\0\0\x08\0\0")) in ("truncated", "too_many_frames")


def test_boxes_nested_without_end() -> None:
    levels = 1500
    nested = b"".join((8 * (levels - n)).to_bytes(4, "big") + b"moov" for n in range(levels))
    assert reason(nested) == "corrupt"


def test_a_start_that_is_not_a_keyframe(ts: bytes) -> None:
    assert reason(ts[188 * 200 :]) == "no_keyframe"


def test_a_keyframe_that_is_shown_after_all_later_pictures() -> None:
    """Nothing is left to show, because what precedes the keyframe belongs to another chunk."""
    body = next(body for body in bad_media.healthy_chunks() if b"ctts" in body)
    assert reason(changed(body, b"ctts", 12, b"\0\0\0\1\0\0\x7f\xff")) == "no_timestamps"


def test_unknown_codecs(mp4: bytes) -> None:
    assert reason(changed(mp4, b"avc1", 0, b"zzzz")) == "unknown_codec"


def test_a_missing_video_track() -> None:
    body = io.BytesIO()
    with av.open(body, "w", format="mpegts") as out:
        voice = out.add_stream("mp2", rate=44100, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
        sound.sample_rate = 44100
        out.mux([*voice.encode(sound), *voice.encode(None)])
    assert reason(body.getvalue()) == "no_video"


def test_too_large_frames(mp4: bytes, ts: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Media(backend="pyav", max_pixels=64 * 48 - 1)
    assert reason(mp4, small) == reason(ts, small) == "too_large"
    monkeypatch.setattr("streamfx.media.decode.MAX_SEGMENT_BYTES", 10 * 64 * 48 * 3)
    assert reason(mp4) == "too_large"


def test_frames_that_become_larger_are_counted_at_their_real_size(monkeypatch: pytest.MonkeyPatch) -> None:
    body = growing(64, 256)
    assert {frame.pixels.shape[0] for frame in decode(body, START_US, MEDIA).frames} == {64, 256}
    for room in ("decode", "pyav_decoder"):
        monkeypatch.setattr(f"streamfx.media.{room}.MAX_SEGMENT_BYTES", 40 * 64 * 64 * 3)
    assert reason(body) == "too_large"


def growing(small: int, large: int) -> bytes:
    """Two seconds of pictures of `small` x `small`, then two of `large` x `large`, as one H.264 track in MPEG-TS."""
    body = io.BytesIO()
    with av.open(body, "w", format="mpegts") as out:
        track = out.add_stream("libx264", rate=20, options={"bf": "0", "preset": "ultrafast"})
        track.width = track.height = small
        track.pix_fmt = "yuv420p"
        later = av.CodecContext.create("libx264", "w")
        assert isinstance(later, av.VideoCodecContext)
        later.options = {"bf": "0", "preset": "ultrafast"}
        later.width = later.height = large
        later.pix_fmt, later.framerate, later.time_base = "yuv420p", Fraction(20), Fraction(1, 20)
        for encoder, side, first in ((track, small, 0), (later, large, 40)):
            for number in range(first, first + 40):
                frame = av.VideoFrame.from_ndarray(np.full((side * 3 // 2, side), 128, np.uint8), format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 20)
                mux(out, track, encoder.encode(frame))
            mux(out, track, encoder.encode(None))
    return body.getvalue()


def mux(out: av.container.OutputContainer, track: av.VideoStream, packets: list[av.Packet]) -> None:
    for packet in packets:
        packet.stream = track
        out.mux(packet)


def test_too_long_media() -> None:
    assert reason(sparse(step_s=60 * 60 * 24)) == "too_long"
    assert reason(sparse(step_s=2), Media(backend="pyav", max_chunk_s=3.0)) == "too_long"


def test_too_many_frames(ts: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_media, "MAX_FPS", 10)
    assert reason(ts) == "too_many_frames"
    assert reason(ts, Media(backend="pyav", max_chunk_s=3.0)) == "too_many_frames"


def test_pictures_that_cannot_be_decoded(mp4: bytes) -> None:
    noise = np.random.default_rng(5).bytes(3000)
    assert reason(changed(mp4, b"mdat", 804, noise)) == "corrupt"


def test_broken_sound_leaves_the_frames(mp4: bytes, ts: bytes) -> None:
    broken = mp4[:-60_000] + np.random.default_rng(5).bytes(60_000)
    segment = decode(broken, START_US, MEDIA)
    assert segment.sound is None
    assert len(segment.frames) == len(decode(mp4, START_US, MEDIA).frames) == 16


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 40), cut=st.booleans())
def test_any_damage_ends_in_a_segment_or_a_reason(seed: int, flips: int, cut: bool) -> None:
    body = bytearray(_sample())
    random = np.random.default_rng(seed)
    for at in random.integers(0, min(1500, len(body)) if seed % 2 else len(body), flips):
        body[at] = int(random.integers(256))
    damaged = bytes(body[: int(random.integers(len(body)))] if cut else body)
    try:
        segment = decode(damaged, START_US, MEDIA)
    except BadChunk as error:
        assert f"\n{error.reason} " in (chunk_media.__doc__ or "")
    else:
        assert segment.start_us == START_US


def _sample() -> bytes:
    if not _SAMPLE:
        body = io.BytesIO()
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        with av.open(body, "w", format="mp4", options=options) as out:
            video = out.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(20):
                picture = np.full((48, 64, 3), number * 9, np.uint8)
                out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(video.encode(None))
        _SAMPLE.append(body.getvalue())
    return _SAMPLE[0]


_SAMPLE: list[bytes] = []
