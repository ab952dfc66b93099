"""Decoding only what the sampled frames need gives the very frames that decoding everything gives."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.odd_pictures import Track, disc, video

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media import pyav_decoder
from streamfx.media.chunk_media import ChunkMedia, open_chunk
from streamfx.media.cut import cut_video
from streamfx.media.decode import decode
from streamfx.media.hevc import has_one_layer
from streamfx.media.pyav_decoder import PyavPictures

START_US = 1_700_000_000_000_000
RECIPES: dict[str, dict[str, Any]] = {
    "no B-frames": {"options": {"g": "12", "bf": "0"}},
    "one long group": {"options": {"g": "1000", "bf": "3", "b-pyramid": "none"}},
    "pyramid": {"options": {"g": "25", "bf": "3", "b-pyramid": "normal", "refs": "4"}},
    "many B-frames": {"options": {"g": "50", "bf": "8", "b_strategy": "2", "x264-params": "b-adapt=2"}},
    "open groups": {"options": {"g": "12", "bf": "3", "x264-params": "open-gop=1"}, "container": "mpegts"},
    "intra refresh": {"options": {"g": "12", "bf": "2", "x264-params": "intra-refresh=1"}},
    "keyframes alone": {"options": {"g": "1"}},
    "variable rate": {"options": {"g": "12", "bf": "3"}, "times_ms": [t + t % 7 for t in range(0, 3000, 45)]},
    "odd sides": {"options": {"g": "25", "bf": "3"}, "size": (65, 49)},
    "slices": {"options": {"bf": "3", "slices": "4"}},
    "HEVC": {"codec": "libx265", "options": {"x265-params": "bframes=4:keyint=25:log-level=none"}},
    "HEVC, layers": {"codec": "libx265", "options": {"x265-params": "bframes=4:temporal-layers=3:log-level=none"}},
    "HEVC, open groups": {
        "codec": "libx265",
        "container": "mpegts",
        "options": {"x265-params": "bframes=4:keyint=12:open-gop=1:log-level=none"},
    },
    "VP8": {"container": "webm", "codec": "libvpx", "options": {"deadline": "realtime"}, "sound": None},
    "VP9": {
        "container": "webm",
        "codec": "libvpx-vp9",
        "options": {"deadline": "good", "cpu-used": "8", "lag-in-frames": "16", "auto-alt-ref": "1"},
        "sound": None,
    },
    "AV1": {"container": "webm", "codec": "libsvtav1", "options": {"preset": "12"}, "sound": None},
    "MPEG-4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "MPEG-2": {"container": "mpegts", "codec": "mpeg2video", "sound": "mp2", "options": {"g": "12", "bf": "2"}},
    "MPEG-1": {"container": "mpeg", "codec": "mpeg1video", "sound": "mp2", "options": {"g": "12", "bf": "2"}},
}
LEFT_OUT = (
    *("one long group", "pyramid", "many B-frames", "open groups"),
    *("HEVC", "HEVC, open groups", "MPEG-4", "MPEG-2", "MPEG-1"),
)
"""Recipes with frames that nothing is made from, in codecs that say so."""


def chunks(path: Path) -> Iterator[bytes]:
    """The file as it is, and as the cutter cuts it."""
    yield path.read_bytes()
    yield from (chunk.body for chunk in cut_video(path, 1.0, START_US))


def both(body: bytes, wanted: Sequence[int], media: Media) -> tuple[list[Any] | None, list[Any]]:
    """The wanted pictures by decoding what they need, or None, and by decoding everything."""
    with open_chunk(body, media) as chunk:
        due = [chunk.pts[index] for index in wanted]
        return pyav_decoder._spared(chunk, due, media), pyav_decoder._of_all(chunk, due, media)


def frames_in(body: bytes) -> int:
    """How many frames a chunk shows."""
    with open_chunk(body, Media()) as chunk:
        return len(chunk.pts)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_frames_are_those_of_a_full_decode(recipe: dict[str, Any], make_clip: Callable[..., Path]) -> None:
    chance = random.Random(7)
    spared = 0
    for body in chunks(make_clip(**{"seconds": 3.0, **recipe})):
        count = frames_in(body)
        for threads in (1, 3):
            wanted = sorted(chance.sample(range(count), max(1, count // chance.choice((2, 3, 7)))))
            some, full = both(body, wanted, Media(threads=threads))
            spared += some is not None
            if some is not None:
                assert len(some) == len(full)
                assert all(np.array_equal(a, b) for a, b in zip(some, full, strict=True))
    assert spared


@pytest.mark.parametrize("recipe", [RECIPES[name] for name in LEFT_OUT], ids=LEFT_OUT)
def test_frames_that_nothing_needs_are_left_out(recipe: dict[str, Any], make_clip: Callable[..., Path]) -> None:
    body = make_clip(**{"seconds": 3.0, **recipe}).read_bytes()
    given = []
    for sparing in (True, False):
        with open_chunk(body, Media()) as chunk:
            wanted = set(chunk.pts[::3]) if sparing else None
            frames = list(pyav_decoder._frames(chunk, Media(), chunk.video_packets, wanted))
            given.append([frame.pts for frame in frames])
            assert set(chunk.pts[::3]) <= set(given[-1])
    assert len(given[0]) < len(given[1])


def test_of_several_temporal_layers_everything_is_decoded(make_clip: Callable[..., Path]) -> None:
    for name, one in (("HEVC", True), ("HEVC, open groups", True), ("HEVC, layers", False)):
        with open_chunk(make_clip(**RECIPES[name]).read_bytes(), Media()) as chunk:
            assert has_one_layer(chunk.video.codec_context.extradata, chunk.video_packets) == one


def test_a_packet_without_a_slice_has_no_layer() -> None:
    for headers in (b"", b"\1" + b"\xff" * 30):
        for data in (b"", b"\0", b"\0\0\1", b"\0\0\0\1\x26", b"\0\0\0\2\x4e\1"):
            assert not has_one_layer(headers, [data])


def test_nothing_is_decoded_after_the_last_wanted_frame(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    frames = pyav_decoder._frames

    def watched(chunk: ChunkMedia, media: Media, packets: Sequence[Any], wanted: set[int] | None = None) -> Any:
        given.append(len(packets))
        return frames(chunk, media, packets, wanted)

    monkeypatch.setattr(pyav_decoder, "_frames", watched)
    with open_chunk(make_clip(options={"g": "25", "bf": "3"}).read_bytes(), Media()) as chunk:
        assert len(PyavPictures().pictures(chunk, [2, 40], Media())) == 2
    assert len(given) == 1 and 40 < given[0] < 50


def test_fields_are_decoded_whole() -> None:
    for codec in ("libx264", "mpeg2video"):
        track = Track(lambda n: disc(96, 64, at=(0.3 + n / 200, 0.5)), codec=codec, fields=True)
        body = video(track, "mpegts")
        some, full = both(body, [3, 9, 30], Media())
        assert some is None
        with open_chunk(body, Media()) as chunk:
            shown = PyavPictures().pictures(chunk, [3, 9, 30], Media())
        assert all(np.array_equal(a, b) for a, b in zip(shown, full, strict=True))


@pytest.fixture
def with_a_hole(make_clip: Callable[..., Path]) -> tuple[bytes, int]:
    """A chunk in which one packet holds no frame but a note, and that frame's number."""
    source = make_clip(seconds=2.0, sound=None, codec="mpeg2video", options={"g": "50", "bf": "2"})
    body = io.BytesIO()
    with av.open(str(source)) as clip, av.open(body, "w", format="mp4") as out:
        track = clip.streams.video[0]
        copy = out.add_stream_from_template(track)
        packets = [packet for packet in clip.demux(track) if packet.size]
        times = sorted(packet.pts for packet in packets)
        # Three bits of a picture's header say that it is a B-picture, which nothing is made from.
        hole = next(p for p in packets if bytes(p)[5] >> 3 & 7 == 3 and times.index(p.pts) > 9)
        for packet in packets:
            made = av.Packet(b"\0\0\1\xb2nothing") if packet is hole else packet
            made.pts, made.dts, made.time_base, made.duration = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.duration,
            )
            made.is_keyframe = packet.is_keyframe
            made.stream = copy
            out.mux(made)
    return body.getvalue(), times.index(hole.pts)


def test_where_the_codec_gives_no_frame_the_one_before_it_is_used(with_a_hole: tuple[bytes, int]) -> None:
    body, hole = with_a_hole
    some, full = both(body, [0, hole, 45], Media())
    assert some is None
    before = both(body, [0, hole - 1, 45], Media())[1]
    with open_chunk(body, Media()) as chunk:
        shown = PyavPictures().pictures(chunk, [0, hole, 45], Media())
    for pictures in (full, before):
        assert all(np.array_equal(a, b) for a, b in zip(shown, pictures, strict=True))


def test_damage_counts_where_it_is_decoded(make_clip: Callable[..., Path]) -> None:
    body = make_clip(seconds=2.0, sound=None, options={"g": "12", "bf": "0"}).read_bytes()
    with open_chunk(body, Media()) as chunk:
        old = chunk.video_packets[40]
        # The length of the picture's data is far more than there are.
        new = chunk.video_packets[40] = av.Packet(b"\xff" * 40)
        new.pts, new.dts, new.time_base, new.stream = old.pts, old.dts, old.time_base, old.stream
        assert len(PyavPictures().pictures(chunk, [0, 20, 39], Media())) == 3
        with pytest.raises(BadChunk, match="corrupt"):
            PyavPictures().pictures(chunk, [0, 20, 41], Media())
        with pytest.raises(BadChunk, match="corrupt"):
            list(pyav_decoder.every_frame(chunk, Media()))


def test_two_packets_of_one_time_are_decoded_whole(make_clip: Callable[..., Path]) -> None:
    body = make_clip(seconds=1.0).read_bytes()
    with open_chunk(body, Media()) as chunk:
        chunk.video_packets.append(chunk.video_packets[-1])
        assert pyav_decoder._spared(chunk, chunk.pts[:1], Media()) is None


def test_a_whole_chunk_is_the_same_decoded_either_way(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = list(chunks(make_clip(options={"g": "25", "bf": "3"})))
    sparing = [decode(body, START_US, Media(backend="pyav")) for body in bodies]
    monkeypatch.setattr(pyav_decoder, "_spared", lambda *_: None)
    for body, one in zip(bodies, sparing, strict=True):
        full = decode(body, START_US, Media(backend="pyav"))
        assert [(f.time_us, f.sample_us) for f in one.frames] == [(f.time_us, f.sample_us) for f in full.frames]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one.frames, full.frames, strict=True))
