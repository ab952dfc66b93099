"""Which of several video tracks is used: one rule for files, chunks from third parties and live inputs."""

from __future__ import annotations

import io
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.odd_pictures import Track, disc, write_video

from streamfx.config.media import Media
from streamfx.errors import BadChunk, SourceError
from streamfx.media import tracks as rule
from streamfx.media.cut import cut_video
from streamfx.media.decode import decode
from streamfx.media.live import LiveInput

BLACK = np.zeros((96, 128, 3), np.uint8)
FILM = disc(128, 96)
PREVIEW = disc(40, 32)
SMALL_BLACK = np.zeros((48, 64, 3), np.uint8)

# The container, then (picture, marked default) of each track, then the number of the expected track.
CASES = {
    "a black track first, the film marked": (("mp4", "matroska"), [(BLACK, False), (FILM, True)], 1),
    "a preview first, the film marked": (("mp4", "matroska"), [(PREVIEW, False), (FILM, True)], 1),
    "the marked one, though another is larger": (("mp4", "matroska"), [(BLACK, False), (PREVIEW, True)], 1),
    "all marked: the largest": (("mp4", "matroska"), [(PREVIEW, True), (FILM, True), (SMALL_BLACK, True)], 1),
    "two of three marked: the larger": (("matroska",), [(BLACK, False), (PREVIEW, True), (SMALL_BLACK, True)], 2),
    "none marked: the largest": (("mpegts", "matroska"), [(PREVIEW, False), (FILM, False)], 1),
    "equals: the first": (("mpegts", "matroska", "mp4"), [(FILM, True), (BLACK, True)], 0),
}
LAID_OUT = [
    pytest.param(container, pictures, right, id=f"{name} ({container})")
    for name, (containers, pictures, right) in CASES.items()
    for container in containers
]


def several(container: str, pictures: list[tuple[np.ndarray, bool]]) -> bytes:
    body = io.BytesIO()
    tracks = [Track(lambda _, picture=picture: picture, default=default) for picture, default in pictures]
    write_video(body, tracks, container, 30)
    return body.getvalue()


@contextmanager
def sending(body: bytes) -> Iterator[str]:
    """A server that sends these bytes to the first client."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with server.accept()[0] as connection, suppress(OSError):
                connection.sendall(body)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def shows(body: bytes, picture: np.ndarray) -> bool:
    frames = decode(body, 0, Media(backend="pyav")).frames
    return len(frames) > 0 and all(same(frame.pixels, picture) for frame in frames)


def same(seen: object, picture: np.ndarray) -> bool:
    pixels = np.asarray(seen).astype(int)
    return pixels.shape == picture.shape and bool(np.abs(pixels - picture).mean() < 6)


@pytest.mark.parametrize(("container", "pictures", "right"), LAID_OUT)
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_the_track_of_a_chunk_from_a_third_party(
    container: str, pictures: list[tuple[np.ndarray, bool]], right: int, backend: str
) -> None:
    segment = decode(several(container, pictures), 0, Media(backend=backend))  # type: ignore[arg-type]
    assert len(segment.frames) > 5
    assert all(same(frame.pixels, pictures[right][0]) for frame in segment.frames)


@pytest.mark.parametrize(("container", "pictures", "right"), LAID_OUT)
def test_the_track_of_a_file(
    container: str, pictures: list[tuple[np.ndarray, bool]], right: int, tmp_path: Path
) -> None:
    path = tmp_path / "film"
    path.write_bytes(several(container, pictures))
    for chunk in cut_video(path, 1.0):
        assert shows(chunk.body, pictures[right][0])


@pytest.mark.parametrize("encode", [False, True], ids=["copied", "encoded"])
@pytest.mark.parametrize(("container", "pictures", "right"), [case for case in LAID_OUT if case.values[0] != "mp4"])
def test_the_track_of_a_live_input(
    container: str, pictures: list[tuple[np.ndarray, bool]], right: int, encode: bool
) -> None:
    pieces = []
    with sending(several(container, pictures)) as url, pytest.raises(SourceError, match="ended"):
        for piece in LiveInput(url, 1_000_000, 1 << 24, lambda: False, encode=encode).pieces():
            pieces.append(piece.body)
    assert pieces and all(shows(body, pictures[right][0]) for body in pieces)


def test_a_live_input_gives_the_track_with_the_requested_number() -> None:
    with sending(several("matroska", [(PREVIEW, False), (FILM, True)])) as url:
        piece = next(LiveInput(url, 500_000, 1 << 24, lambda: False, track=0).pieces())
    assert shows(piece.body, PREVIEW)


def test_a_number_chooses_that_track(tmp_path: Path) -> None:
    body = several("matroska", [(PREVIEW, True), (FILM, True), (BLACK, False)])
    path = tmp_path / "film.mkv"
    path.write_bytes(body)
    for number, picture in enumerate((PREVIEW, FILM, BLACK)):
        media = Media(backend="pyav", video_track=number)
        assert same(decode(body, 0, media).frames[0].pixels, picture)
        cut = next(cut_video(path, 1.0, track=number))
        assert same(decode(cut.body, 0, media).frames[0].pixels, picture), (
            "a chunk's only track is used whatever the number"
        )
    with pytest.raises(BadChunk, match="no_video: expected video track 3"):
        decode(body, 0, Media(backend="pyav", video_track=3))
    with pytest.raises(SourceError, match="expected a video track with the number 3, counted from 0"):
        next(cut_video(path, 1.0, track=3))


def test_the_choice_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rule._log_once.cache_clear()
    body = several("matroska", [(PREVIEW, False), (FILM, True)])
    with caplog.at_level(logging.INFO, "streamfx"):
        for _ in range(3):
            decode(body, 0, Media(backend="pyav"))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("2 video tracks (0: 40x32 h264, 1: 128x96 h264): track 1 is used")


def test_the_choice_in_each_file_is_logged_once_with_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = several("matroska", [(PREVIEW, False), (FILM, True)])
    paths = [tmp_path / name for name in ("a.mkv", "b.mkv")]
    for path in paths:
        path.write_bytes(body)
    with caplog.at_level(logging.INFO, "streamfx"):
        for path in paths * 2:
            assert next(cut_video(path, 1.0))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(": ", 1)[0] for line in lines] == [str(path) for path in paths]
    assert all("track 1 is used" in line and "--video-track" in line for line in lines)
