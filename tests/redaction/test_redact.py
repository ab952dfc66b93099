"""A redacted film: every face filled in every frame, every frame with its time, and nothing else of the file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.films import HEIGHT, SIDE, WIDTH, Fails, SeesWhite, picture, read_film, square_at, write_film

from streamfx.detection.centerface import Detector
from streamfx.errors import RedactionError, SourceError
from streamfx.privacy.fills import FILLS
from streamfx.redaction.film import FilmFrame
from streamfx.redaction.redact import Redacted, redact_film

FRAMES = 50


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two seconds of a square that moves to the right."""
    return write_film(tmp_path / "film.mp4", map(picture, range(FRAMES)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the copy goes: alone in its folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "copy.mp4"


def passed(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
    yield from frames


def redacted(film: Path, out: Path, detector: Detector | None = None, progress: Any = passed) -> Redacted:
    return redact_film(film, out, FILLS["solid"], detector or SeesWhite(), 1, progress)


def shows_a_face(pixels: np.ndarray) -> bool:
    return bool((pixels.min(axis=2) > 180).any())


def is_filled_whole(pixels: np.ndarray) -> bool:
    return bool(pixels.max() < 20)


def look_at(number: int) -> int:
    """The first look at a frame, where each fifth gets a second one."""
    return number + -(-number // 5)


def test_no_frame_shows_a_face_and_what_is_far_from_it_stays(film: Path, out: Path) -> None:
    done = redacted(film, out)
    pictures, _ = read_film(out)
    assert len(pictures) == done.frames == FRAMES
    assert not any(map(shows_a_face, pictures))
    assert all(abs(int(pixels[5, 5, 0]) - 120) < 12 for pixels in pictures)
    assert done.tracks == 1 and done.whole == {} and 0.02 < done.filled < 0.4 and done.seconds == pytest.approx(2.0)


@pytest.mark.parametrize("blind", [range(0, 9), range(20, 35), range(40, 50)], ids=["before", "between", "after"])
def test_a_face_stays_filled_where_the_detector_misses_it(film: Path, out: Path, blind: range) -> None:
    looks = range(look_at(blind.start), look_at(blind.stop) + 2)
    redacted(film, out, SeesWhite(lambda look: look in looks))
    assert not any(map(shows_a_face, read_film(out)[0]))


def test_a_face_that_is_gone_is_not_filled_for_ever(tmp_path: Path, out: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [picture(n, shown=n < 10) for n in range(FRAMES)])
    redacted(film, out)
    assert read_film(out)[0][-1].min() > 90


def test_a_frame_that_the_detector_fails_on_is_filled_whole(film: Path, out: Path) -> None:
    done = redacted(film, out, Fails(lambda look: look == look_at(15)))
    whole = [number for number, pixels in enumerate(read_film(out)[0]) if is_filled_whole(pixels)]
    assert whole == [15] and done.whole == {"detector_failed": 1}


def test_a_damaged_picture_is_filled_whole_and_so_are_those_that_are_made_from_it(tmp_path: Path, out: Path) -> None:
    film = write_film(tmp_path / "film.mp4", map(picture, range(FRAMES)), codec="mpeg4")  # a keyframe each 10 frames
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        damaged = keys[2] + 4
        middle, end = packets[damaged].pos + packets[damaged].size // 2, packets[damaged].pos + packets[damaged].size
    with film.open("r+b") as file:
        file.seek(middle)
        file.write(b"\xa5" * min(20, end - middle))
    done = redacted(film, out)
    whole = [number for number, pixels in enumerate(read_film(out)[0]) if is_filled_whole(pixels)]
    assert whole == list(range(damaged, keys[3])) and done.whole == {"picture_damaged": len(whole)}


def test_where_a_second_look_fails_all_frames_to_its_neighbours_are_filled_whole(film: Path, out: Path) -> None:
    done = redacted(film, out, Fails(lambda look: look == look_at(20) + 1))
    whole = [number for number, pixels in enumerate(read_film(out)[0]) if is_filled_whole(pixels)]
    assert whole == list(range(16, 25)) and done.whole == {"detector_failed": 9}


def test_without_a_detector_nothing_is_shown(film: Path, out: Path) -> None:
    done = redacted(film, out, Fails())
    assert all(map(is_filled_whole, read_film(out)[0])) and done.filled == 1.0


def test_every_frame_keeps_its_time(tmp_path: Path, out: Path) -> None:
    times = [0, 40, 50, 200, 233, 1000, 1001, 1900]
    film = write_film(tmp_path / "film.mkv", map(picture, range(len(times))), times)
    redacted(film, out)
    assert read_film(out)[1] == [time / 1000 for time in times]


@pytest.mark.parametrize("size", [(321, 193), (320, 193), (WIDTH, HEIGHT)])
def test_the_copy_is_what_browsers_play(tmp_path: Path, out: Path, size: tuple[int, int]) -> None:
    redacted(write_film(tmp_path / "film.mp4", [picture(n, size=size) for n in range(5)]), out)
    with av.open(str(out)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (size[0] // 2 * 2, size[1] // 2 * 2)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_picture_that_lies_on_its_side_is_turned(tmp_path: Path, out: Path) -> None:
    film = write_film(tmp_path / "film.mp4", map(picture, range(5)), rotation=90)
    redacted(film, out)
    pictures, _ = read_film(out)
    assert pictures[0].shape == (WIDTH, HEIGHT, 3) and not any(map(shows_a_face, pictures))
    with av.open(str(out)) as container:
        assert not [d for d in next(container.decode(video=0)).side_data if d.type.name == "DISPLAYMATRIX"]


def test_nothing_else_of_the_file_is_kept(tmp_path: Path, out: Path) -> None:
    film = tmp_path / "film.mkv"
    with av.open(str(film), "w") as container:
        container.metadata.update({"title": "secret-title", "location": "+52.5200+013.4050/"})
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.metadata["comment"] = "secret-comment"
        sound: Any = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number))))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(tone))
        container.mux(video.encode(None) + sound.encode(None))
    redacted(film, out)
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert set(container.metadata) <= {"major_brand", "minor_version", "compatible_brands"}
    assert b"secret" not in out.read_bytes() and b"Lavf" not in out.read_bytes()


def test_the_copy_has_its_name_only_when_it_is_complete(film: Path, out: Path) -> None:
    seen: list[list[str]] = []

    def watched(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
        for frame in frames:
            seen.append([file.name for file in out.parent.iterdir()])
            yield frame

    redacted(film, out, progress=watched)
    assert len(seen) == 2 * FRAMES and not any(out.name in names for names in seen)
    assert [file.name for file in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at", ["looking", "filling"])
def test_after_an_error_or_ctrl_c_there_is_nothing(film: Path, out: Path, error: type[BaseException], at: str) -> None:
    def ends(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
        for number, frame in enumerate(frames):
            if title == at and number == 30:
                raise error
            yield frame

    with pytest.raises(error):
        redacted(film, out, progress=ends)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_film_that_breaks_off_leaves_nothing(tmp_path: Path, film: Path, out: Path, kept: float) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[: int(film.stat().st_size * kept)])
    with pytest.raises(SourceError):
        redacted(broken, out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("count", [20, FRAMES])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_changes_while_it_is_read_leaves_nothing(film: Path, out: Path, count: int, when: str) -> None:
    def changes(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
        for number, frame in enumerate(frames):
            if title == ("filling" if when == "before" else "looking") and number == FRAMES - 1:
                write_film(film, (picture(n + 9) for n in range(count)))
            yield frame

    with pytest.raises(SourceError, match="changed"):
        redacted(film, out, progress=changes)
    assert list(out.parent.iterdir()) == []


def test_a_file_that_exists_is_not_overwritten(film: Path, out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(RedactionError, match="exists already"):
        redacted(film, out)
    assert out.read_text() == "mine"


def test_a_film_whose_pictures_change_their_size_keeps_that_of_the_first(tmp_path: Path, out: Path) -> None:
    film = tmp_path / "film.mjpeg"
    for size in ((WIDTH, HEIGHT), (WIDTH // 2 * 3, HEIGHT * 2)):
        part = io.BytesIO()
        with av.open(part, "w", format="mjpeg") as container:
            stream: Any = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
            for number in range(5):
                shown = av.VideoFrame.from_ndarray(picture(number, size=size)).reformat(format="yuvj420p")
                container.mux(stream.encode(shown))
            container.mux(stream.encode(None))
        film.write_bytes((film.read_bytes() if film.exists() else b"") + part.getvalue())
    redacted(film, out)
    pictures, _ = read_film(out)
    assert [pixels.shape for pixels in pictures] == [(HEIGHT, WIDTH, 3)] * 10 and not any(map(shows_a_face, pictures))


def test_the_square_is_where_the_tests_say() -> None:
    x, y = square_at(3)
    assert picture(3)[y : y + SIDE, x : x + SIDE].min() == 255 and (picture(3) == 255).sum() == SIDE * SIDE * 3
