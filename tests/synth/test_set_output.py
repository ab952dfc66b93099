"""A synthetic set on disk: it is read as written, equal input gives equal files, and a killed run resumes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streamfx.errors import SynthError
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.synth.actions import AUS
from streamfx.synth.clip import NO_TRAITS
from streamfx.synth.output import CLIP_COLUMNS, FRAME_COLUMNS, SetInfo, SetWriter, contact_sheet, read_set
from streamfx.synth.traits import draw_traits

INFO = SetInfo(seed=3, identities=3, clips=7, fps=10, size=64, seconds=1.0)
FRAMES = 10
RATE = 16000


def _clip(index: int) -> dict[str, Any]:
    """The row of one clip; the last one is empty."""
    shown = index < INFO.clips - 1
    return {
        "clip": f"s3-{index:06d}", "seed": 3, "index": index, "kind": "frontal" if shown else "empty",
        "expression": LABELS_7[index] if shown else None, "intensity": 0.5, "apex_time_s": 0.45,
        "identity": f"s3-i{index % 3}" if shown else None, "sex": "female" if shown else None, "age_years": 33,
        "age_group": "young" if shown else None, "skin_tone": 4, "light": "dim", "light_source": "lamp",
        "background": "room", "defocus": 0.02, "noise": 2.0, "vignette": 0.1, "lip_colour": "a05050" if shown else None,
        "pose": "frontal", "crf": 28,
        "sound": "clear", "face_px": np.float32(40.5), "text": "The box is by the door." if shown else "",
    } | (asdict(draw_traits("female", 33, 4, np.random.default_rng(index))) if shown else NO_TRAITS)  # fmt: skip


def _frames(index: int) -> list[dict[str, Any]]:
    if index == INFO.clips - 1:
        return []
    places = {name: 0.1 * i for i, name in enumerate(("box_x0", "box_y0", "box_x1", "box_y1"))}
    places |= {f"lm_{i}_{axis}": i + 0.3 for i in range(5) for axis in "xy"}
    return [
        {"clip": f"s3-{index:06d}", "frame": t, "time_s": t / 10, "face": 0, "identity": f"s3-i{index % 3}",
         "expression": LABELS_7[index], "expression_intensity": t / 20, "viseme": "AA", "blink": 0.0, "yaw_deg": -3.5,
         "pitch_deg": 0, "roll_deg": 1.25, "occluded": t == 4, "light_x": 0.0, "light_y": 0.6, "light_z": 0.8}
        | places | dict.fromkeys(AUS, 1.5)
        for t in range(FRAMES)
    ]  # fmt: skip


def _video(index: int) -> Iterator[np.ndarray]:
    """A bright bar at 6 t pixels from the left; the background identifies the clip."""
    for t in range(FRAMES):
        picture = np.full((64, 64, 3), (30 * index, 60, 200 - 25 * index), np.uint8)
        picture[:, 6 * t : 6 * t + 4] = 250
        yield picture


def _sound(index: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * (200 + 50 * index) * np.arange(RATE) / RATE)).astype(np.float32)


def _add(writer: SetWriter, index: int) -> None:
    writer.add(_clip(index), _frames(index), _video(index), 10, 28, _sound(index), RATE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set."""
    directory = tmp_path_factory.mktemp("synth") / "set"
    writer = SetWriter(directory, INFO)
    for index in reversed(range(INFO.clips)):
        _add(writer, index)
    writer.finish()
    return directory


def _digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_tables_hold_the_given_rows(made: Path) -> None:
    info, clips, frames = read_set(made)
    assert info == INFO
    assert clips["clip"].tolist() == [f"s3-{i:06d}" for i in range(7)]
    for index in range(7):
        for name, value in _clip(index).items():
            got = clips.iloc[index][name]
            assert pd.isna(got) if value is None else got == pytest.approx(value), name
    assert len(frames) == 6 * FRAMES
    expected = pd.DataFrame([row for index in range(7) for row in _frames(index)])
    for name in expected:
        if expected[name].dtype.kind == "f":
            np.testing.assert_allclose(frames[name], expected[name], rtol=1e-6)
        else:
            assert frames[name].tolist() == expected[name].tolist(), name


def test_columns_and_types_are_as_documented(made: Path) -> None:
    _, clips, frames = read_set(made)
    kinds = {"int": "int32", "float": "float32", "seconds": "float64", "bool": "bool"}
    for table, columns in ((clips, CLIP_COLUMNS), (frames, FRAME_COLUMNS)):
        assert list(table.columns) == [column.name for column in columns]
        for column in columns:
            is_text = pd.api.types.is_string_dtype(table[column.name])
            assert is_text if column.kind == "string" else table[column.name].dtype == kinds[column.kind], column


def test_duckdb_reads_the_tables(made: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = f"""
        select c.expression, count(*) n from '{made}/frames.parquet' f join '{made}/clips.parquet' c using (clip)
        where f.au_12 > 1 group by 1 order by 1"""
    assert duckdb.sql(query).fetchall() == [(word, FRAMES) for word in sorted(LABELS_7[:6])]


def test_a_clip_plays_the_given_pictures_and_sound(made: Path) -> None:
    with av.open(str(made / "clips" / "s3-000002.mp4")) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (64, 64, 10)
        assert (sound.codec_context.sample_rate, sound.codec_context.layout.name) == (RATE, "mono")
        assert "creation_time" not in container.metadata | video.metadata
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video)]
    assert [time for time, _ in pictures] == pytest.approx([t / 10 for t in range(FRAMES)])
    for t, (_, picture) in enumerate(pictures):
        assert int(picture.mean(axis=(0, 2))[: 6 * t + 5].argmax()) == pytest.approx(6 * t + 1.5, abs=2)
        assert picture[:, 62:].mean(axis=(0, 1)) == pytest.approx((60, 60, 150), abs=8)
    with av.open(str(made / "clips" / "s3-000002.mp4")) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])[:RATE]
    assert np.corrcoef(heard[500:15500], _sound(2)[500:15500])[0, 1] > 0.99


def test_equal_input_gives_equal_files_in_any_order_and_over_several_runs(made: Path, tmp_path: Path) -> None:
    directory = tmp_path / "set"
    for index in range(7):
        writer = SetWriter(directory, INFO)
        assert [writer.has(f"s3-{i:06d}") for i in range(7)] == [i < index for i in range(7)]
        _add(writer, index)
    SetWriter(directory, INFO).finish()
    assert _digests(directory) == _digests(made)


def test_a_half_written_clip_does_not_count_as_made(tmp_path: Path) -> None:
    def breaks() -> Iterator[np.ndarray]:
        yield from list(_video(0))[:5]
        raise KeyboardInterrupt

    writer = SetWriter(tmp_path, INFO)
    with pytest.raises(KeyboardInterrupt):
        writer.add(_clip(0), _frames(0), breaks(), 10, 28, _sound(0), RATE)
    assert not writer.has("s3-000000")
    assert list((tmp_path / "clips").iterdir()) == []
    _add(writer, 0)
    # As if killed between writing the video and its ground truth.
    (tmp_path / "parts" / "s3-000000.json").unlink()
    assert not SetWriter(tmp_path, INFO).has("s3-000000")


def test_a_run_killed_while_finishing_is_finished_by_the_next(made: Path, tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, INFO)
    for index in range(7):
        _add(writer, index)
    (tmp_path / "frames.parquet").write_bytes(b"half a t")
    (tmp_path / "clips" / ".s3-000001-99.mp4").write_bytes(b"of a killed process")
    assert not writer.complete
    SetWriter(tmp_path, INFO).finish()
    assert _digests(tmp_path) == _digests(made)
    again = SetWriter(tmp_path, INFO)
    again.finish()
    assert again.complete and again.has("s3-000004") and not again.has("s3-000007")


def test_another_set_in_the_directory_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(SynthError, match=r"made with seed 3 \(not 4\), clips 7 \(not 8\); choose another directory"):
        SetWriter(made, INFO.model_copy(update={"seed": 4, "clips": 8}))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SynthError, match=r"holds files but no set\.json"):
        SetWriter(tmp_path, INFO)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensity": "high"}, "column intensity .* expected float, got 'high'"),
        ({"index": True}, "column index .* expected int, got True"),
        ({"kind": None}, "column kind .* expected string, got None"),
        ({"intensity": float("nan")}, "column intensity .* expected a finite number"),
        ({"mood": 1}, r"unknown \(\['mood'\]\)"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    writer = SetWriter(tmp_path, INFO)
    with pytest.raises(SynthError, match=message):
        writer.add(_clip(0) | change, _frames(0), _video(0), 10, 28, _sound(0), RATE)
    assert list((tmp_path / "clips").iterdir()) == []


def test_an_unfinished_or_damaged_set_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match=r"holds no set by `streamfx synth`: cannot read set\.json"):
        read_set(tmp_path)
    writer = SetWriter(tmp_path, INFO)
    _add(writer, 0)
    with pytest.raises(SynthError, match="1 of 7 clips are made"):
        writer.finish()
    with pytest.raises(SynthError, match=r"clips\.parquet and frames\.parquet missing: the set is not finished"):
        read_set(tmp_path)
    for index in range(1, 7):
        _add(writer, index)
    writer.finish()
    (tmp_path / "clips" / "s3-000003.mp4").unlink()
    with pytest.raises(SynthError, match=r"1 clips are missing, the first is s3-000003\.mp4"):
        read_set(tmp_path)
    (tmp_path / "clips.parquet").write_bytes((tmp_path / "frames.parquet").read_bytes())
    with pytest.raises(SynthError, match=r"clips\.parquet: expected the columns of a synthetic set"):
        read_set(tmp_path)
    (tmp_path / "clips.parquet").write_bytes(b"no table")
    with pytest.raises(SynthError, match=r"clips\.parquet cannot be read as Parquet"):
        read_set(tmp_path)
    (tmp_path / "set.json").write_text('{"version": 1}')
    with pytest.raises(SynthError, match=r"set\.json: expected version 2 of the drawings, got 1; make the set again"):
        read_set(tmp_path)


def test_a_clip_lost_from_a_finished_set_is_restored(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "set")
    lost = tmp_path / "set" / "clips" / "s3-000003.mp4"
    lost.unlink()
    with pytest.raises(SynthError, match="make the set again to get them back"):
        read_set(tmp_path / "set")
    writer = SetWriter(tmp_path / "set", INFO)
    assert not writer.has("s3-000003")
    _add(writer, 3)
    writer.finish()
    assert lost.read_bytes() == (made / "clips" / "s3-000003.mp4").read_bytes()
    assert len(read_set(tmp_path / "set")[1]) == 7


def test_a_contact_sheet_of_empty_scenes_says_so(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, INFO.model_copy(update={"clips": 1}))
    nobody = {"kind": "empty", "expression": None, "identity": None, "sex": None, "age_group": None}
    writer.add(_clip(0) | nobody, [], _video(0), 10, 28, _sound(0), RATE)
    writer.finish()
    contact_sheet(tmp_path, tmp_path / "sheet.png", across=2, side=144)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (288, 160) and np.asarray(sheet)[:16].min() < 100


def test_a_contact_sheet_shows_each_expression_at_its_apex_in_a_row(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    contact_sheet(made, path, across=2, side=64)
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert sheet.shape == (6 * (64 + 16), 2 * 64, 3)
    for row, word in enumerate(sorted(LABELS_7[:6])):
        tile = sheet[row * 80 + 16 : row * 80 + 80, :64]
        assert tile[:, 60:].mean(axis=(0, 1))[0] == pytest.approx(30 * LABELS_7.index(word), abs=8)
        assert int(tile.mean(axis=(0, 2))[:40].argmax()) == pytest.approx(6 * 4 + 1.5, abs=2)  # the frame at 0.4 s
        assert sheet[row * 80 : row * 80 + 16, :64].min() < 100  # the label
        assert (sheet[row * 80 + 16 : row * 80 + 80, 64:] == 255).all()  # one identity each
