"""The files source reads videos and folders of chunks like topics, and gives the same records each time."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamfx.config.source import ClaimCheck, FilesSection
from streamfx.errors import ConfigError, SourceError
from streamfx.media import video_file
from streamfx.media.cut import cut_video
from streamfx.records import Partition, Record
from streamfx.source.chunk import parse_record
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.source.files import FilesSource as Files
from streamfx.source.publish import FolderDestination, publish
from streamfx.source.streams import parse_start

KEY = b"a key of the tests"
START = "2026-01-31T12:00:00+00:00"
START_US = 1_769_860_800_000_000


def make_video(path: Path, seconds: float = 4.0, shade: int = 0, keyframe_s: int = 1) -> Path:
    """A small video without sound, with 10 frames per second and a keyframe every `keyframe_s` seconds."""
    with av.open(str(path), "w") as container:
        options = {"g": str(10 * keyframe_s), "bf": "0", "preset": "ultrafast", "sc_threshold": "0"}
        track = container.add_stream("libx264", rate=10, options=options)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        for number in range(round(seconds * 10)):
            picture = np.full((64, 64, 3), (number * 5 + shade) % 256, dtype=np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode(None))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three videos and a file that is not a video."""
    folder = tmp_path_factory.mktemp("videos")
    for shade, name in enumerate(("hall", "door", "yard")):
        make_video(folder / f"{name}.mp4", shade=shade * 40)
    (folder / "notes.txt").write_text("no video")
    return folder


def source(*paths: Path, worker: int = 0, workers: int = 1, key: bytes = KEY, **settings: Any) -> Files:
    known: dict[str, Any] = {"chunk_s": 1.0, "start": START}
    return Files(FilesSection(paths=list(paths), **(known | settings)), worker, workers, key)


def read_all(files: Files, first: int = 0) -> list[Record]:
    """Poll until all streams have ended."""
    mine: list[Partition] = []

    def assigned(partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            mine.append(partition)
            files.seek(partition, first)

    files.subscribe(assigned, lambda partitions, lost: None)
    records = files.poll(0)
    while not all(files.finished(partition) for partition in mine):
        records += files.poll(0)
    return records


def by_topic(records: Sequence[Record]) -> dict[str, list[Record]]:
    topics: dict[str, list[Record]] = {}
    for record in records:
        topics.setdefault(record.partition.topic, []).append(record)
    return topics


def test_each_video_is_a_topic_of_valid_chunks_in_order(videos: Path) -> None:
    with closing(source(videos)) as files:
        assert files.cluster == "files" and not files.stamped_on_append
        assert len(files.partitions()) == 3 and set(files.partition_counts().values()) == {1}
        topics = by_topic(read_all(files))
    assert len(topics) == 3
    claims = ClaimCheckReader(ClaimCheck())
    for records in topics.values():
        chunks = [parse_record(record, claims) for record in records]
        assert [chunk.offset for chunk in chunks] == [chunk.seq for chunk in chunks] == [0, 1, 2, 3]
        assert [chunk.start_us for chunk in chunks] == [START_US + i * 1_000_000 for i in range(4)]
        assert [chunk.timestamp_ms for chunk in chunks] == [chunk.start_us // 1000 for chunk in chunks]
        assert [chunk.end for chunk in chunks] == [False, False, False, True]
        name = chunks[0].stream_id
        assert [chunk.body for chunk in chunks] == [
            cut.body for cut in cut_video(videos / f"{name}.mp4", 1.0, START_US)
        ]


def lengths_s(records: Sequence[Record]) -> list[float]:
    """Seconds that each chunk's pictures last."""
    return [len(decoded(record)) / 10 for record in records]


def decoded(record: Record) -> list[np.ndarray[Any, Any]]:
    with av.open(io.BytesIO(record.value)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("keyframe_s", "settings", "expected"),
    [
        (5, {}, [5, 5, 4]),
        (10, {}, [10, 4]),
        (5, {"chunk_s": 6.0}, [10, 4]),
        (13, {}, [1] * 14),
        (5, {"max_chunk_s": 4.0}, [1] * 14),
    ],
    ids=["every 5 s", "every 10 s", "every 5 s in longer chunks", "too far apart", "longer than a chunk may be"],
)
def test_a_chunk_lasts_to_the_next_keyframe_where_the_film_would_have_to_be_encoded(
    tmp_path: Path, keyframe_s: int, settings: dict[str, Any], expected: list[int]
) -> None:
    path = make_video(tmp_path / "film.mp4", 14.0, keyframe_s=keyframe_s)
    longest = {name: settings[name] for name in settings if name == "max_chunk_s"}
    section = FilesSection(paths=[path], chunk_s=settings.get("chunk_s", 1.0), start=START)
    records = read_all(Files(section, 0, 1, KEY, **longest))
    assert lengths_s(records) == expected
    if expected[0] > 1:
        with av.open(str(path)) as film:
            truth = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        shown = [picture for record in records for picture in decoded(record)]
        assert np.array_equal(shown, truth), "the pictures are those of the file, to the bit"


def test_large_pictures_are_not_held_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "film.mp4", 14.0, keyframe_s=5)
    monkeypatch.setattr(video_file, "_LONGEST_BYTES", 40 * 64 * 64 * 3)
    assert lengths_s(read_all(source(path))) == [1] * 14


def test_a_publisher_keeps_to_the_length_that_was_asked_for(tmp_path: Path) -> None:
    path = make_video(tmp_path / "film.mp4", 4.0, keyframe_s=4)
    publish([path], FolderDestination(tmp_path / "chunks"), chunk_s=1.0)
    assert len(list((tmp_path / "chunks" / "film").glob("*.mp4"))) == 4


def test_a_topic_does_not_reveal_the_file_name_and_the_key_decides_its_pseudonym(videos: Path) -> None:
    names = {partition.log_name for partition in source(videos).partitions()}
    assert names == {partition.log_name for partition in source(videos).partitions()}
    assert names.isdisjoint(partition.log_name for partition in source(videos, key=b"another").partitions())
    assert not any(name in "".join(names) for name in ("hall", "door", "yard"))


def test_the_streams_are_divided_among_the_workers_without_overlap(videos: Path) -> None:
    shares = [{r.partition for r in read_all(source(videos, worker=i, workers=2))} for i in range(2)]
    assert shares[0].isdisjoint(shares[1])
    assert shares[0] | shares[1] == set(source(videos).partitions())


def test_reading_continues_at_the_given_offset(videos: Path) -> None:
    whole = read_all(source(videos / "hall.mp4"))
    assert read_all(source(videos / "hall.mp4"), first=2) == whole[2:]
    assert read_all(source(videos / "hall.mp4"), first=4) == []


def test_nothing_is_delivered_before_a_seek_or_while_paused(videos: Path) -> None:
    files = source(videos / "hall.mp4")
    (partition,) = files.partitions()
    given: list[Partition] = []
    files.subscribe(given.extend, lambda partitions, lost: given.clear())
    assert files.poll(0) == [] and given == [partition]
    files.seek(partition, 1)
    files.pause([partition])
    assert files.poll(0) == [] and not files.finished(partition)
    files.resume([partition])
    assert [record.offset for record in files.poll(0)] == [1]
    files.close()
    assert given == []


def test_no_time_is_lost_between_the_assignment_and_the_first_seek(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("streamfx.source.files.time.sleep", waits.append)
    files = source(videos / "hall.mp4")
    files.subscribe(lambda partitions: None, lambda partitions, lost: None)
    assert files.poll(60.0) == [] and waits == []
    assert files.poll(60.0) == [] and waits == [60.0]


def test_old_records_are_cut_again_and_are_the_same(videos: Path) -> None:
    files = source(videos / "hall.mp4")
    (partition,) = files.partitions()
    whole = read_all(source(videos / "hall.mp4"))
    assert files.read_at(partition, [2, 0, 9]) == {2: whole[2], 0: whole[0], 9: None}
    assert files.bounds(partition) == (0, 4)
    assert list(files.readable_offsets(partition, 1, 9)) == [1, 2, 3]


@pytest.mark.parametrize(("after_ms", "offset"), [(-5000, 0), (0, 0), (999, 0), (1000, 1), (2500, 2), (60_000, 3)])
def test_a_time_is_found_in_the_chunk_that_shows_it(videos: Path, after_ms: int, offset: int) -> None:
    files = source(videos / "hall.mp4")
    assert files.offset_at(files.partitions()[0], START_US // 1000 + after_ms) == offset


def test_chunks_written_to_folders_read_like_the_video_they_came_from(videos: Path, tmp_path: Path) -> None:
    publish([videos], FolderDestination(tmp_path / "chunks"), chunk_s=1.0, start_us=START_US)
    from_folders = by_topic(read_all(source(tmp_path / "chunks", start=None)))
    assert from_folders == by_topic(read_all(source(videos)))
    files = source(tmp_path / "chunks" / "hall", start=None)
    (partition,) = files.partitions()
    assert [record.offset for record in read_all(files)] == [0, 1, 2, 3]
    (tmp_path / "chunks" / "hall" / "1.json").unlink()
    files = source(tmp_path / "chunks" / "hall", start=None)
    assert [record.offset for record in read_all(files)] == [0, 2, 3]
    assert list(files.readable_offsets(partition, 0, 4)) == [0, 2, 3]
    assert files.read_at(partition, [1, 2])[1] is None


def test_a_bad_entry_in_a_folder_of_chunks_has_a_fault_that_names_the_file(videos: Path, tmp_path: Path) -> None:
    publish([videos / "hall.mp4"], FolderDestination(tmp_path), chunk_s=1.0)
    folder = tmp_path / "hall"
    (folder / "3.mp4").unlink()
    (folder / "2.json").write_text("{")
    (folder / "0.json").write_text(json.dumps({"streamfx-seq": "0"}))
    files = source(tmp_path, start=None)
    records = read_all(files)
    assert [record.fault and record.fault.reason for record in records] == [
        None,
        None,
        "headers_unreadable",
        "media_missing",
    ]
    assert [name for name in ("2.json", "3.json") for sentence in files.left_out() if name in sentence] == [
        "2.json",
        "3.json",
    ]
    for file in folder.glob("*.json"):
        file.write_text(json.dumps({"streamfx-seq": "0"}))
    with pytest.raises(SourceError, match=r"0\.json: expected a header streamfx-stream-id"):
        source(folder, start=None)
    videos_and_chunks = tmp_path / "both"
    videos_and_chunks.mkdir()
    make_video(videos_and_chunks / "yard.mp4", seconds=1)
    folder.rename(videos_and_chunks / "hall")
    files = source(videos_and_chunks, start=None)
    assert len(read_all(files)) == 2 and "0.json" in files.left_out()[0]


def test_a_named_input_that_cannot_be_read_is_reported_at_once(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(os.urandom(1000))
    for path in (tmp_path / "none.mp4", tmp_path / "broken.mp4", videos / "notes.txt"):
        with pytest.raises(SourceError, match=path.name):
            source(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no videos"):
        source(tmp_path / "empty")
    with pytest.raises(ConfigError, match="ISO 8601"):
        source(videos, start="yesterday")


def test_the_same_stream_in_two_inputs_is_refused(videos: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "hall.mkv", seconds=1)
    with pytest.raises(SourceError, match="same stream id"):
        source(videos, tmp_path / "hall.mkv")
    with pytest.raises(SourceError, match="named twice"):
        source(videos, videos / "hall.mp4")


def test_a_start_without_a_zone_is_utc() -> None:
    assert parse_start("2026-01-31T12:00:00") == parse_start("2026-01-31T13:00:00+01:00") == START_US
    assert parse_start("2026-01-31T12:00:00.000001Z") == START_US + 1
    with pytest.raises(ConfigError, match="after 1970"):
        parse_start("1960-01-01")


def test_the_clip_that_comes_with_streamfx_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(source(Path("streamfx/assets/story.mp4"))) as files:
        assert len(files.partitions()) == 1
    with pytest.raises(SourceError, match=r"^streamfx/assets/other\.mp4: there is no such file"):
        source(Path("streamfx/assets/other.mp4"))
