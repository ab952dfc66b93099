"""The table `aggregates` of a dataset: what it counts, what it hides, and that each stretch of time is published once."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from helpers.crowds import DAY_US, HOUR_US, START_US, cells, crowd, order, table, write

from streamfx.aggregate.groups import read_groups
from streamfx.aggregate.release import release
from streamfx.cli.main import main
from streamfx.columns import AGGREGATES_COLUMNS
from streamfx.errors import ConfigError, PrivacyRefusal, SinkError
from streamfx.privacy.rows import publish_cell
from streamfx.records import MICROSECONDS
from streamfx.sink.current_files import shown_files
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import compact, forget
from streamfx.sink.preview import preview
from streamfx.sink.verify import verify
from streamfx.testing import make_pseudonyms


def test_a_cell_counts_each_track_and_each_moment_once(place: Path) -> None:
    write(place, [*crowd(range(4), seconds=5), *crowd(range(4, 8), "happiness")])
    done = release(order(place))
    found = cells(place)
    assert (done.bins, done.rows, done.hidden) == (24, len(found), 0)
    assert {key: (row["tracks"], row["face_seconds"]) for key, row in found.items()} == {
        ("all", "faces", "all"): (8, 4 * 5.0 + 4 * 3.0),
        ("all", "expression", "neutral"): (4, 20.0),
        ("all", "expression", "happiness"): (4, 12.0),
        ("all", "au_45", "measured"): (8, 32.0),
    }
    assert found["all", "expression", "neutral"]["mean"] == 0.5
    assert found["all", "au_45", "measured"]["mean"] == 2.0
    assert found["all", "faces", "all"]["mean"] is None


def test_an_action_unit_counts_where_it_acts(place: Path) -> None:
    write(place, [*crowd(range(4), smile=3.0), *crowd(range(4, 8), smile=0.5), *crowd(range(8, 9))])
    release(order(place))
    smiles = cells(place)["all", "au_12", "present"]
    assert (smiles["tracks"], smiles["face_seconds"], smiles["mean"]) == (4, 12.0, 3.0)


def test_what_is_too_small_is_hidden_and_so_is_what_would_tell_it(place: Path) -> None:
    write(place, [*crowd(range(2), "anger"), *crowd(range(2, 6), "happiness"), *crowd(range(6, 12))])
    assert release(order(place)).hidden == 2
    assert {value for _, measure, value in cells(place) if measure == "expression"} == {"neutral"}
    assert verify(place).ok


def test_too_few_faces_give_no_row_but_their_bins_are_done(place: Path) -> None:
    write(place, crowd(range(2)))
    assert release(order(place)).rows == 0
    assert table(place) == []
    write(place, crowd(range(2, 9)), offset=1)
    assert release(order(place)).bins == 0
    assert verify(place).ok


def test_the_time_of_a_window_ends_with_its_bin(place: Path) -> None:
    write(place, crowd(range(3), start_us=START_US + HOUR_US - MICROSECONDS, seconds=3))
    release(order(place, measures=["expression"]))
    found = {row["bin_start"].hour: row["face_seconds"] for row in table(place) if row["measure"] == "faces"}
    assert found == {0: 3 * 1.0, 1: 3 * 2.0}


def test_streams_are_counted_by_group_and_together(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("stream,group\nhall,inside\ndoor,outside\nyard,outside\n")
    faces = [("hall", range(5)), ("door", range(5, 8)), ("yard", range(8, 12)), ("roof", range(12, 16))]
    write(place, [one for stream, tracks in faces for one in crowd(tracks, stream=stream)])
    release(order(place, groups=read_groups(file, make_pseudonyms()), measures=["expression"]))
    found = {group: row["tracks"] for (group, measure, _), row in cells(place).items() if measure == "faces"}
    assert found == {"all": 16, "inside": 5, "outside": 7, "other": 4}


def test_pseudonyms_make_groups_without_the_key(place: Path, tmp_path: Path) -> None:
    write(place, crowd(range(5)))
    (name,) = {row["stream_id"] for row in pyarrow.parquet.read_table(place / "windows").to_pylist()}
    file = tmp_path / "groups.csv"
    file.write_text(f"stream_id,salt_period,group\n{name},19675,inside\n")
    release(order(place, groups=read_groups(file, None)))
    assert ("inside", "faces", "all") in cells(place)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("camera,group\n", "expected a first line `stream,group`"),
        ("stream_id,group\nab,all\n", "line 2: expected a stream and a group"),
        ("stream_id,group\nab,in side\n", "line 2: expected a stream and a group"),
        ("stream_id,group\nab,x\nab,y\n", "line 3: a stream is in one group"),
        ("stream,group\nhall,x\n", "only the key knows their pseudonyms"),
    ],
)
def test_a_wrong_file_of_groups_is_refused_by_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "groups.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_groups(file, None)


def test_a_stretch_of_time_is_published_once(place: Path) -> None:
    write(place, [*crowd(range(4)), *crowd(range(4), start_us=START_US + 2 * HOUR_US)])
    assert release(order(place, end_us=START_US + HOUR_US)).bins == 1
    before = table(place)
    write(place, crowd(range(4, 9)), offset=1)
    assert release(order(place)).bins == 23
    assert [row for row in table(place) if row["bin_start"].hour == 0] == before
    assert {row["bin_start"].hour for row in table(place)} == {0, 2}
    # Another length of bins would make equations between the two.
    assert release(order(place, every_s=86_400)).bins == 0
    assert verify(place).ok


def test_what_is_not_closed_yet_is_left_for_later(place: Path) -> None:
    write(place, [*crowd(range(4)), *crowd(range(4), start_us=START_US + HOUR_US)])
    early = order(place, start_us=None, end_us=None, now_us=START_US + 2 * HOUR_US + 1, delay_s=1800.0)
    assert release(early).bins == 1
    with pytest.raises(ConfigError, match="--to: bins are published 1 s"):
        release(order(place, end_us=START_US + 2 * HOUR_US, now_us=START_US + 2 * HOUR_US, delay_s=1.0))
    assert release(order(place, start_us=None, end_us=None)).bins == 23


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start_us": START_US + 1}, "--from: expected the edge of a bin"),
        ({"start_us": START_US + DAY_US}, "range of event time that is not empty"),
        ({"every_s": 3600, "salt_period_s": 5400}, "aggregate.every_s: expected a divisor of privacy.salt_period_s"),
    ],
)
def test_a_range_that_does_not_fit_the_bins_is_refused(place: Path, fields: dict[str, int], said: str) -> None:
    write(place, crowd(range(4)))
    with pytest.raises(ConfigError, match=said):
        release(order(place, **fields))


def test_a_folder_that_is_no_dataset_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="is not a streamfx dataset"):
        release(order(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_files_say_what_they_are(place: Path) -> None:
    write(place, crowd(range(4)))
    release(order(place))
    (file,) = (place / "aggregates").rglob("*.parquet")
    about = pyarrow.parquet.read_schema(file)
    assert about.names == [column.name for column in AGGREGATES_COLUMNS]
    assert about.metadata[b"streamfx.purpose"] == b"test"
    assert str(file.relative_to(place)).startswith("aggregates/date=2023-11-14/~aggregates-0-")
    assert shown_files(LocalFileSystem(place), str(place), "aggregates") == [str(file.relative_to(place))]


# ------------------------------------------------------------------------------------------ beside other commands


def test_erasing_a_stream_leaves_aggregates_and_erasing_a_time_takes_them(place: Path) -> None:
    write(place, [*crowd(range(4)), *crowd(range(4), start_us=START_US + HOUR_US)])
    release(order(place))
    fs, before = LocalFileSystem(place), table(place)
    (name,) = {row["stream_id"] for row in pyarrow.parquet.read_table(place / "windows").to_pylist()}
    forget(fs, str(place), Rule(frozenset({name}), None, START_US + HOUR_US))
    assert table(place) == before
    rule = Rule(None, None, START_US + HOUR_US)
    assert preview(fs, str(place), rule).aggregates == len(before) // 2
    forget(fs, str(place), rule)
    assert {row["bin_start"].hour for row in table(place)} == {1}
    assert verify(place).ok
    assert release(order(place)).bins == 0  # what was erased does not come back


def test_releases_of_a_day_are_merged_and_the_state_stays(place: Path) -> None:
    write(place, [*crowd(range(4)), *crowd(range(4), start_us=START_US + HOUR_US)])
    release(order(place, end_us=START_US + HOUR_US))
    release(order(place))
    rows = sorted(map(str, table(place)))
    compact(LocalFileSystem(place), str(place))
    assert len(list((place / "aggregates").rglob("*.parquet"))) == 1
    assert sorted(map(str, table(place))) == rows
    assert release(order(place)).bins == 0
    assert verify(place).ok


def test_verify_sees_a_row_that_is_there_twice_and_a_file_of_nobody(place: Path) -> None:
    write(place, crowd(range(4)))
    release(order(place))
    (file,) = (place / "aggregates").rglob("*.parquet")
    report = verify(place)
    assert (report.ok, report.rows["aggregates"]) == (True, len(table(place)))
    assert [one["topic"] for one in report.offsets] == ["calls"]
    file.with_name("copy.parquet").write_bytes(file.read_bytes())
    report = verify(place)
    assert len(report.orphans) == 1
    assert len(report.duplicates) == len(cells(place))


def test_only_a_cell_of_enough_tracks_becomes_a_row() -> None:
    values = {
        **{
            "bin_start": 0,
            "bin_end": 1,
            "stream_group": "all",
            "measure": "faces",
            "value": "all",
            "face_seconds": 1.0,
        },
        **{"tracks": 3, "mean": None, "k": 3, "noise": "none", "tracks_sd": 0.0, "face_seconds_sd": 0.0},
    }
    assert publish_cell(values).table == "aggregates"
    for change in ({"tracks": 2}, {"value": "Ann Smith"}, {"track_id": "x"}):
        with pytest.raises(PrivacyRefusal):
            publish_cell(values | change)


# -------------------------------------------------------------------------------------------- the command line


def test_the_command_publishes_from_a_dataset(place: Path) -> None:
    write(place, crowd(range(12)))
    done = CliRunner().invoke(main, ["aggregate", str(place), "--every", "15m"])
    assert done.exit_code == 0, done.output
    assert "published 3 rows of 96 bins, and hid 0 cells" in done.output
    again = CliRunner().invoke(main, ["aggregate", str(place)])
    assert "all closed bins of this range were published before" in again.output


def test_the_command_says_why_it_hides(place: Path) -> None:
    write(place, crowd(range(3)))
    done = CliRunner().invoke(main, ["aggregate", str(place), "--every", "15m"])
    assert (
        "published 0 rows" in done.output
        and "to hold back numbers of fewer than 10 tracks (aggregate.k)" in done.output
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("aggregate.kk=3", "aggregate.kk: unknown key"),
        ("aggregate.k=1", "aggregate.k: expected a number greater than or equal to 2"),
        ("aggregate.every_s=7", "every_s: expected a number of seconds that divides a day"),
        ("sink.path=x", "--set sink: with a dataset, only keys of the section `aggregate` are taken"),
        ("aggregate.noise={laplace: {epsilon: 1, budget: 2}}", "a budget is kept by salt periods"),
        ("aggregate.noise={}", "expected one kind of noise"),
        ("aggregate.noise={laplace: {epsilon: 2, budget: 1}}", "nothing could be released"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(place: Path, override: str, said: str) -> None:
    write(place, crowd(range(12)))
    done = CliRunner().invoke(main, ["aggregate", str(place), "--set", override])
    assert (done.exit_code, said in done.output) == (1, True), done.output
    assert not (place / "aggregates").exists()
