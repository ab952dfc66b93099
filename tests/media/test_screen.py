"""Pictures as a screen shows them: circles stay round, fields show no combing, and HDR looks like SDR."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.odd_pictures import HLG_TAGS, PQ_TAGS, Track, combs, disc, hlg, pq, roundness, spliced, video, with_pasp

from streamfx.config.media import Media
from streamfx.media import hdr
from streamfx.media.cut import cut_video
from streamfx.media.decode import decode
from streamfx.media.pixel_aspect import shown_size
from streamfx.media.video_file import plan_cuts

ASPECTS = [Fraction(1, 2), Fraction(2), Fraction(16, 11), Fraction(8, 9)]
FEW_KEYFRAMES = {"g": "1000"}


def shown(body: bytes, backend: str = "pyav") -> list[np.ndarray[Any, Any]]:
    frames = decode(body, 0, Media(backend=backend)).frames  # type: ignore[arg-type]
    assert len(frames) > 2
    return [np.asarray(frame.pixels) for frame in frames]


def anamorphic(aspect: Fraction, size: tuple[int, int] = (160, 120), **track: Any) -> Track:
    return Track(lambda _: disc(*size, aspect), **({"aspect": aspect} | track))


def is_round(pixels: np.ndarray[Any, Any]) -> bool:
    return abs(roundness(pixels) - 1) < 0.03


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(body: bytes) -> Path:
        path = tmp_path / "film"
        path.write_bytes(body)
        return path

    return write


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
@pytest.mark.parametrize("aspect", ASPECTS, ids=str)
def test_a_circle_is_a_circle(aspect: Fraction, container: str, backend: str) -> None:
    for pixels in shown(video(anamorphic(aspect), container), backend):
        assert is_round(pixels)
        assert pixels.shape[0] >= 120 and pixels.shape[1] >= 160, "nothing is made smaller"


@pytest.mark.parametrize("options", [{}, FEW_KEYFRAMES], ids=["copied", "encoded"])
@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
@pytest.mark.parametrize("rotation", [None, 90, 180])
def test_a_circle_is_a_circle_in_cut_chunks(
    options: dict[str, str], container: str, rotation: int | None, file: Callable[[bytes], Path]
) -> None:
    if rotation is not None and container == "mpegts":
        pytest.skip("MPEG-TS has no display matrix")
    for aspect in ASPECTS:
        path = file(video(anamorphic(aspect, rotation=rotation, options=options), container))
        assert plan_cuts(path, 1_000_000).remux == (not options)
        for chunk in cut_video(path, 1.0, 0):
            assert all(is_round(pixels) for pixels in shown(chunk.body))
            height, width = shown(chunk.body)[0].shape[:2]
            assert (width < height) == ((160 * aspect < 120) != (rotation == 90))


def test_mpeg_2_declares_the_aspect_ratio_of_the_screen(file: Callable[[bytes], Path]) -> None:
    # Its headers can declare only 4:3 and 16:9.
    for aspect in (Fraction(16, 15), Fraction(64, 45)):
        path = file(video(anamorphic(aspect, (360, 288), codec="mpeg2video"), "mpegts", 25))
        for chunk in cut_video(path, 1.0, 0):
            assert all(is_round(pixels) for pixels in shown(chunk.body))


def test_the_containers_ratio_is_used_where_it_differs(file: Callable[[bytes], Path]) -> None:
    track = Track(lambda _: disc(160, 120, Fraction(2)), aspect=Fraction(1, 2))
    body = with_pasp(video(track), 2, 1)
    for backend in ("pyav", "decord"):
        assert all(is_round(pixels) for pixels in shown(body, backend))
    for chunk in cut_video(file(body), 1.0, 0):
        assert all(is_round(pixels) for pixels in shown(chunk.body))


@pytest.mark.parametrize("ratio", [(0, 0), (0, 1), (1, 0), (1, 100), (5, 1), (4_000_000_000, 1)], ids=str)
def test_an_invalid_ratio_in_the_container_is_ignored(ratio: tuple[int, int], file: Callable[[bytes], Path]) -> None:
    body = with_pasp(video(anamorphic(Fraction(2))), *ratio)
    assert all(is_round(pixels) for pixels in shown(body))
    for chunk in cut_video(file(body), 1.0, 0):
        assert all(is_round(pixels) for pixels in shown(chunk.body))


def test_invalid_ratios_everywhere_mean_square_pixels() -> None:
    body = with_pasp(video(Track(lambda _: disc(160, 120), aspect=Fraction(1, 100))), 1, 200)
    assert shown(body)[0].shape == (120, 160, 3)


def test_almost_square_pixels_are_not_changed() -> None:
    # Matroska stores sides in whole pixels, such as 1279 for 1280.
    almost = Track(lambda _: disc(160, 120), aspect=Fraction(1279, 1280))
    plain = Track(lambda _: disc(160, 120))
    for one, other in zip(shown(video(almost, "matroska")), shown(video(plain, "matroska")), strict=True):
        assert np.array_equal(one, other)


def test_a_pixel_aspect_that_changes_within_a_file(file: Callable[[bytes], Path]) -> None:
    # Two broadcasts follow each other in one MPEG-TS, as in a recording; the second has another pixel aspect.
    changing = Track(lambda n: disc(360, 288, Fraction(16, 15) if n < 25 else Fraction(64, 45)), "mpeg2video")
    path = file(spliced(changing, Fraction(16, 15), Fraction(64, 45)))
    assert plan_cuts(path, 1_000_000).remux
    for chunk in cut_video(path, 1.0, 0):
        for frame in decode(chunk.body, chunk.start_us, Media(backend="pyav")).frames:
            assert is_round(np.asarray(frame.pixels))


def test_the_stretched_size_is_bounded() -> None:
    assert shown_size(3840, 2160, Fraction(1), 8_847_360) == (3840, 2160)
    for aspect in (Fraction(4), Fraction(1, 4), Fraction(40, 11)):
        width, height = shown_size(3840, 2160, aspect, 8_847_360)
        assert width * height <= 8_847_360 * 1.001
        assert width / height == pytest.approx(3840 / 2160 * float(aspect), rel=0.002)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_interlaced_pictures_show_no_combing(codec: str, backend: str, file: Callable[[bytes], Path]) -> None:
    quick = Track(lambda n: disc(160, 120, at=((40 + 6 * (n % 14)) / 160, 0.5)), codec, fields=True)
    for container in ("mpegts", "mp4"):
        for pixels in shown(video(quick, container), backend):
            assert combs(pixels) < 0.75
            assert is_round(pixels)


@pytest.mark.parametrize("options", [{}, FEW_KEYFRAMES], ids=["copied", "encoded"])
def test_interlaced_pictures_show_no_combing_in_cut_chunks(
    options: dict[str, str], file: Callable[[bytes], Path]
) -> None:
    quick = Track(lambda n: disc(160, 120, at=((40 + 6 * (n % 14)) / 160, 0.5)), fields=True, options=options)
    path = file(video(quick, "mpegts"))
    media = Media(backend="pyav")
    whole = {}
    for chunk in cut_video(path, 5.0, 0):
        for frame in decode(chunk.body, chunk.start_us, media).frames:
            whole[frame.sample_us] = np.asarray(frame.pixels)
    for chunk in cut_video(path, 1.0, 0):
        for frame in decode(chunk.body, chunk.start_us, Media(backend="pyav")).frames:
            pixels = np.asarray(frame.pixels)
            assert combs(pixels) < 0.75 and is_round(pixels)
            if not options:
                assert np.array_equal(pixels, whole[frame.sample_us]), "a frame looks the same wherever it is cut"


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("signal", "tags"), [(pq, PQ_TAGS), (hlg, HLG_TAGS)], ids=["PQ", "HLG"])
@pytest.mark.parametrize("how", ["third party", "copied", "encoded", "decord"])
def test_hdr_looks_like_the_standard_picture(
    codec: str, signal: Any, tags: str, how: str, file: Callable[[bytes], Path]
) -> None:
    # The disc's brightest channel is at 145 cd/m2 and so is compressed; the background is not changed.
    params = {"libx264": "x264-params", "libx265": "x265-params"}[codec]
    keyframes = ":keyint=1000:min-keyint=1000" if how == "encoded" else ":keyint=12"
    quiet = ":log-level=none" if codec == "libx265" else ""
    track = Track(lambda _: disc(160, 120), codec, signal=signal, options={params: tags + keyframes + quiet})
    body = video(track)
    if how in ("copied", "encoded"):
        path = file(body)
        assert plan_cuts(path, 1_000_000).remux == (how == "copied")
        body = next(cut_video(path, 1.0, 0)).body
        pictures = [np.asarray(f.pixels) for f in decode(body, 0, Media(backend="pyav")).frames]
    else:
        pictures = shown(body, "decord" if how == "decord" else "pyav")
    for pixels in pictures:
        error = np.abs(pixels.astype(int) - disc(160, 120))
        assert np.median(error[:10]) <= 3, "what is not bright is kept"
        assert np.median(error[55:65, 75:85]) <= 16, "what is bright is compressed, not lost"


def test_the_curves_match_the_standards() -> None:
    # BT.2408: reference white (203 cd/m2) is 58 % of PQ and 75 % of HLG.
    # BT.2100: PQ 1 is 10 000 cd/m2, and HLG 1/2 is 1/12.
    assert hdr.pq_signal(np.array([0.0, 100.0, 203.0, 1000.0, 10_000.0])) == pytest.approx(
        [0, 0.508, 0.581, 0.752, 1], abs=0.001
    )
    assert hdr.pq_light(hdr.pq_signal(np.array([0.1, 5.0, 203.0, 4000.0]))) == pytest.approx(
        [0.1, 5, 203, 4000], rel=1e-6
    )
    assert hdr.hlg_scene(np.array([0.0, 0.5, 0.75, 1.0])) == pytest.approx([0, 1 / 12, 0.265, 1], abs=0.001)
    assert 1000 * hdr.hlg_scene(np.array(0.75)) ** 1.2 == pytest.approx(203, rel=0.01)
    light = hdr.tone_mapped(np.array([0.0, 20.0, 80.0, 203.0, 1000.0, 5000.0]))
    assert light[:3] == pytest.approx([0, 20 / 203, 80 / 203], rel=1e-6)
    assert light[2] < light[3] < light[4] == pytest.approx(1) == light[5]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("full", [False, True], ids=["limited range", "full range"])
def test_tagged_colours_come_back(matrix: str, full: bool, backend: str) -> None:
    names = {"bt709": "itu709", "smpte170m": "itu601", "bt2020nc": "bt2020"}
    picture = disc(160, 120)
    params = f"colormatrix={matrix}:fullrange={'on' if full else 'off'}"
    track = Track(lambda _: picture, matrix=names[matrix], full_range=full, options={"x264-params": params})
    body = video(track)
    for pixels in shown(body, backend):
        for at in (60, 80), (5, 5):
            assert np.abs(pixels[at].astype(int) - picture[at]).max() <= 4


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_pixel_aspect_that_changes_within_a_chunk(codec: str, threads: int) -> None:
    changing = Track(lambda n: disc(360, 288, Fraction(16, 15) if n < 25 else Fraction(64, 45)), codec)
    body = spliced(changing, Fraction(16, 15), Fraction(64, 45))
    frames = decode(body, 0, Media(backend="pyav", threads=threads)).frames
    assert [frame.pixels.shape[1] for frame in frames] == [384] * 8 + [512] * 8
    assert all(is_round(np.asarray(frame.pixels)) for frame in frames)
