"""One connection to a live input: event time from arrival times, and inputs that cannot be cut without encoding."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.camera import FPS, RATE, encoder, picture
from helpers.ports import free_port

from streamfx.errors import SourceError
from streamfx.media.live import KeyframesTooRare, LiveInput, LivePiece

NOW_US = 1_800_000_000_000_000


def film(path: Path, codec: str, seconds: float, group: int, hole_at: int | None = None) -> bytes:
    """A Matroska file of numbered pictures. The clock skips 3 s at picture `hole_at`."""
    options = {"g": str(group), "bf": "0", "preset": "ultrafast", "crf": "8", "sc_threshold": "0"}
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=FPS, options=options if codec == "libx264" else {"q": "2"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p" if codec == "libx264" else "yuvj420p"
        for number in range(round(seconds * FPS)):
            frame = picture(number, 0)
            if codec != "libx264":
                frame = frame.reformat(format="yuvj420p", dst_color_range="JPEG")
            frame.pts = number + (3 * FPS if hole_at is not None and number >= hole_at else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def mpegts(first: int, end: int, *, sound: bool) -> bytes:
    """Pictures `first` to `end` in MPEG-TS, with a sine tone or without sound."""
    made = io.BytesIO()
    with av.open(made, "w", format="mpegts") as container:
        video = encoder(container)
        track = container.add_stream("mp2", rate=RATE, layout="mono") if sound else None
        wave = (8000 * np.sin(np.arange(RATE // FPS) * 0.2)).astype(np.int16)[None]
        for number in range(first, end):
            shown = picture(number, 0)
            shown.pts = number
            container.mux(video.encode(shown))
            if track is not None:
                frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, number * wave.shape[1]
                container.mux(track.encode(frame))
        container.mux(video.encode(None))
    return made.getvalue()


@contextmanager
def serving(body: bytes) -> Iterator[str]:
    """A server that sends the same bytes to every client, as fast as possible."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(body)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{port}"
        server.shutdown(socket.SHUT_RDWR)


def read(live: LiveInput) -> tuple[list[LivePiece], SourceError]:
    """The pieces that came, and the error with which the input ended."""
    pieces: list[LivePiece] = []
    with pytest.raises(SourceError) as caught:
        for piece in live.pieces():
            pieces.append(piece)
    return pieces, caught.value


def pictures(pieces: list[LivePiece]) -> int:
    count = 0
    for piece in pieces:
        with av.open(io.BytesIO(piece.body)) as container:
            count += sum(1 for _ in container.decode(video=0))
    return count


def arriving(late_us: Callable[[int], int]) -> Callable[[], int]:
    """A clock whose n-th reading is the time at which picture n arrives: its own time after NOW_US, plus a delay."""
    number = -1

    def now() -> int:
        nonlocal number
        number += 1
        return NOW_US + number * 1_000_000 // FPS + late_us(number)

    return now


def test_the_least_delayed_picture_anchors_event_time(tmp_path: Path) -> None:
    # The first second comes in one burst, as after FFmpeg's probing of an input; later only one picture is on time.
    def late_us(number: int) -> int:
        burst = 1_000_000 - number * 1_000_000 // FPS
        return burst if number < FPS else 200_000 * (number != FPS + 5)

    clock = arriving(late_us)
    with serving(film(tmp_path / "a.mkv", "libx264", 4, FPS // 2)) as url:
        pieces, _ = read(LiveInput(url, 2_000_000, 1 << 24, lambda: False, now_us=clock))
    assert abs(pieces[0].start_us - NOW_US) <= 1_000
    assert [piece.joined for piece in pieces] == [False, True]
    assert all(a.end_us == b.start_us for a, b in pairwise(pieces))
    assert pictures(pieces) == 4 * FPS


def test_an_input_that_falls_behind_is_anchored_again(tmp_path: Path) -> None:
    clock = arriving(lambda n: 5_000_000 if n >= 2 * FPS else 0)
    with serving(film(tmp_path / "a.mkv", "libx264", 6, FPS // 2)) as url:
        pieces, _ = read(LiveInput(url, 1_000_000, 1 << 24, lambda: False, now_us=clock))
    breaks = [b.start_us - a.end_us for a, b in pairwise(pieces) if not b.joined]
    assert len(breaks) == 1 and abs(breaks[0] - 5_000_000) <= 1_000


def test_a_jump_of_the_clock_ends_the_connection_with_all_before_it(tmp_path: Path) -> None:
    with serving(film(tmp_path / "a.mkv", "libx264", 3, FPS // 2, hole_at=25)) as url:
        pieces, error = read(LiveInput(url, 1_000_000, 1 << 24, lambda: False))
    assert "clock jumps" in str(error) and pictures(pieces) == 25


@pytest.mark.parametrize("encode", [False, True])
def test_a_track_that_appears_ends_the_connection_with_all_before_it(encode: bool) -> None:
    silent, with_sound = mpegts(0, 2 * FPS, sound=False), mpegts(2 * FPS, 4 * FPS, sound=True)
    with serving(silent + with_sound) as url:
        pieces, error = read(LiveInput(url, 1_000_000, 1 << 24, lambda: False, encode=encode))
    assert "a track has appeared" in str(error) and pictures(pieces) >= 2 * FPS - 1


@pytest.mark.parametrize(("codec", "encode"), [("libx264", True), ("mjpeg", False)])
def test_what_cannot_be_copied_is_encoded(tmp_path: Path, codec: str, encode: bool) -> None:
    with serving(film(tmp_path / "a.mkv", codec, 3, 1000)) as url:
        pieces, _ = read(LiveInput(url, 1_000_000, 1 << 24, lambda: False, encode=encode))
    assert len(pieces) == 3 and pictures(pieces) == 3 * FPS
    assert all(a.end_us == b.start_us for a, b in pairwise(pieces))


def test_too_rare_keyframes_are_reported_and_what_has_arrived_is_kept(tmp_path: Path) -> None:
    with serving(film(tmp_path / "a.mkv", "libx264", 12, 1000)) as url:
        pieces, error = read(LiveInput(url, 1_000_000, 1 << 24, lambda: False))
    assert isinstance(error, KeyframesTooRare)
    assert len(pieces) == 1 and pictures(pieces) == 10 * FPS + 1


def test_a_chunk_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    with serving(film(tmp_path / "a.mkv", "libx264", 8, 1000)) as url:
        _, error = read(LiveInput(url, 60_000_000, 2_000, lambda: False))
    assert "got more before it was complete" in str(error)


def test_a_playlist_may_not_lead_to_a_file(tmp_path: Path) -> None:
    film(tmp_path / "secret.ts", "libx264", 1, 10)
    with serving(
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://%s\n" % str(tmp_path / "secret.ts").encode()
    ) as url:
        pieces, _ = read(LiveInput(url, 1_000_000, 1 << 24, lambda: False))
    assert pieces == []
