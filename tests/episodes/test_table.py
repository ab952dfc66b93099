"""The table `episodes` of a dataset: what it says, that a repeated call reads and writes only what is new, and that erased
windows leave nothing in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.crowds import DAY_US, START_US
from helpers.tracks import Track, order, said, table, write

import streamfx.episodes.table as episodes_table
from streamfx.columns import EPISODES_COLUMNS
from streamfx.episodes.table import Order, made, update
from streamfx.errors import PrivacyRefusal, SinkError
from streamfx.privacy.rows import publish_episode
from streamfx.records import MICROSECONDS
from streamfx.sink.current_files import shown_files
from streamfx.sink.erasure import Rule
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.maintain import compact, forget
from streamfx.sink.preview import preview
from streamfx.sink.verify import verify
from streamfx.testing import make_pseudonyms

EVER_US = START_US + 400 * DAY_US


def entries(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((place / "_commits/~episodes@/0").glob("*.json"))]


def stream(name: str = "hall", at_us: int = START_US) -> str:
    pseudonyms = make_pseudonyms()
    return pseudonyms.stream_pseudonym(name, pseudonyms.salt_period(at_us))


def test_each_moment_is_counted_once_and_starts_and_ends_lie_between_the_windows(place: Path) -> None:
    write(place, [Track("nnhhhn")])
    done = update(order(place))
    rows = table(place)
    # Windows of two seconds from 0, 1, … 5 s: their middles are at 1, 2, … 6 s.
    assert said(rows) == [("neutral", 0, 2.5), ("happiness", 2.5, 5.5), ("neutral", 5.5, 7)]
    assert said(rows, "face") == [("seen", 0, 7)]
    assert (done.read, done.changed, done.rows) == (1, 1, 4)
    happy = next(row for row in rows if row["value"] == "happiness")
    assert (happy["mean"], happy["peak"], happy["windows"], happy["seconds"]) == (pytest.approx(0.9), 0.9, 3, 3.0)
    assert (happy["start_seen"], happy["end_seen"], happy["rule"]) == (True, True, "hysteresis-0.6-0.4-0")
    assert (happy["model_version"], happy["config_id"]) == ("v1", "c1")
    assert happy["episode_start"] <= happy["apex_time"] <= happy["episode_end"]
    assert verify(place).ok
    assert verify(place).rows["episodes"] == 4


def test_the_table_is_as_documented_and_says_its_purpose(place: Path) -> None:
    import pyarrow.parquet

    write(place, [Track("hh")])
    update(order(place))
    (file,) = (place / "episodes").rglob("*.parquet")
    about = pyarrow.parquet.read_schema(file)
    assert about.names == [column.name for column in EPISODES_COLUMNS]
    assert about.metadata[b"streamfx.purpose"] == b"test"
    assert shown_files(LocalFileSystem(place), str(place), "episodes") == [str(file.relative_to(place))]


def test_a_second_call_writes_nothing_and_a_third_only_what_is_new(place: Path) -> None:
    write(place, [Track("hhh"), Track("nnn", 1, START_US + DAY_US)])
    update(order(place))
    before, files = len(entries(place)), set((place / "episodes").rglob("*.parquet"))
    done = update(order(place))
    assert (done.read, done.changed, len(entries(place))) == (0, 0, before)
    write(place, [Track("...aaa", 0)], offset=1)
    done = update(order(place))
    assert (done.read, done.changed) == (1, 1)
    assert len(files & set((place / "episodes").rglob("*.parquet"))) == 1
    first = [row for row in table(place) if row["episode_start"].timestamp() < (START_US + DAY_US) / 1e6]
    assert said(first) == [("happiness", 0, 3.5), ("anger", 3.5, 7)]
    assert verify(place).ok


def test_compaction_of_the_windows_changes_nothing(place: Path) -> None:
    write(place, [Track("hhh")])
    write(place, [Track("nnn", 1)], offset=1)
    update(order(place))
    before = table(place)
    compact(LocalFileSystem(place), str(place))
    assert update(order(place)).read == 0
    assert table(place) == before
    assert verify(place).ok


def test_another_rule_makes_all_rows_anew(place: Path) -> None:
    write(place, [Track("hhHHn")])
    update(order(place))
    assert said(table(place))[0] == ("happiness", 0, 4.5)
    update(order(place, leave=0.6))
    assert said(table(place))[:2] == [("happiness", 0, 2.5), ("unclear", 2.5, 4.5)]
    assert {row["rule"] for row in table(place)} == {"hysteresis-0.6-0.6-0"}
    update(order(place, smoother="hmm"))
    assert {row["rule"] for row in table(place)} == {"hmm"}
    assert verify(place).ok


def as_if_by(monkeypatch: pytest.MonkeyPatch, algorithm: int) -> None:
    monkeypatch.setattr(episodes_table, "ALGORITHM", algorithm)


def test_rows_of_an_older_algorithm_are_all_made_anew(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place, [Track("hhh"), Track("nnn", 1, START_US + DAY_US)])
    update(order(place))
    assert entries(place)[-1]["snapshot"]["algorithm"] == 1
    as_if_by(monkeypatch, 2)
    assert update(order(place)).read == 2
    assert entries(place)[-1]["snapshot"]["algorithm"] == 2
    assert update(order(place)).read == 0
    assert verify(place).ok


def test_rows_of_a_newer_algorithm_are_not_mixed_with_those_of_this_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, [Track("hhh")])
    with monkeypatch.context() as newer:
        as_if_by(newer, 2)
        update(order(place))
    before = table(place)
    write(place, [Track("nnn", 1)], offset=1)
    with pytest.raises(SinkError, match="a newer version of streamfx made the table"):
        update(order(place))
    assert table(place) == before
    assert len(made(order(place)).rows) > len(before), "a file of its own can still be written"


def test_a_table_from_before_algorithms_had_versions_is_continued(place: Path) -> None:
    write(place, [Track("hhh")])
    update(order(place))
    path = sorted((place / "_commits/~episodes@/0").glob("*.json"))[-1]
    entry = json.loads(path.read_bytes())
    del entry["snapshot"]["algorithm"]
    del entry["sha256"]
    path.write_text(json.dumps(entry))
    assert update(order(place)).read == 0
    assert entries(place)[-1]["snapshot"]["algorithm"] == 1


def test_an_export_has_the_rows_of_the_table_and_leaves_the_dataset_alone(place: Path) -> None:
    write(place, [Track("nnhhhn", smiles=[0, 0, 2, 3, None, 0]), Track("aa", 1)])
    rows = made(order(place)).rows
    assert not (place / "episodes").exists()
    assert not (place / "_commits/~episodes@").exists()
    update(order(place))
    exported = sorted(zip(rows["track_id"], rows["measure"], rows["value"], rows["seconds"], strict=True))
    assert exported == sorted((r["track_id"], r["measure"], r["value"], r["seconds"]) for r in table(place))


def test_an_erased_stream_has_no_episodes_and_gets_none_later(place: Path) -> None:
    write(place, [Track("hhh"), Track("aaa", 1, stream="door")])
    update(order(place))
    rule = Rule(frozenset({stream()}), None, EVER_US)
    assert preview(LocalFileSystem(place), str(place), rule).episodes == 2
    forget(LocalFileSystem(place), str(place), rule)
    assert {row["stream_id"] for row in table(place)} == {stream("door")}
    write(place, [Track("nnn", 5)], offset=1)
    update(order(place))
    assert {row["stream_id"] for row in table(place)} == {stream("door")}
    assert verify(place).ok


def test_erasing_a_part_of_a_run_takes_all_its_episodes_until_the_next_call(place: Path) -> None:
    write(place, [Track("hhhaaannn"), Track("hh", 1)])
    update(order(place))
    start = START_US + 3 * MICROSECONDS
    forget(LocalFileSystem(place), str(place), Rule(None, start, start + 3 * MICROSECONDS))
    assert said(table(place)) == [("happiness", 0, 3)]
    update(order(place))
    runs = [row for row in said(table(place)) if row != ("happiness", 0, 3)]
    assert runs == [("happiness", 0, 4), ("neutral", 6, 10)]
    assert verify(place).ok


def test_a_rule_that_lies_between_two_windows_parts_their_run(place: Path) -> None:
    write(place, [Track("hhhh")])
    update(order(place))
    forget(LocalFileSystem(place), str(place), Rule(None, START_US + 1_200_000, START_US + 1_300_000))
    assert table(place) == []
    assert update(order(place)).changed == 1
    assert said(table(place)) == [("happiness", 0, 2.5), ("happiness", 2.5, 5)]
    assert not any(row["end_seen"] for row in table(place))
    assert update(order(place)).read == 0


def test_retention_shortens_the_table_with_the_windows(place: Path) -> None:
    write(place, [Track("hhh"), Track("aaa", 1, START_US + DAY_US)])
    update(order(place))
    forget(LocalFileSystem(place), str(place), Rule(None, None, START_US + DAY_US))
    assert [value for value, _, _ in said(table(place))] == ["anger"]
    update(order(place))
    assert [value for value, _, _ in said(table(place))] == ["anger"]
    assert verify(place).ok


def test_an_erasure_also_binds_a_log_that_began_while_it_ran(place: Path) -> None:
    """`streamfx episodes` makes its log before it reads windows, so that an erasure that it did not see finds the log."""
    write(place, [Track("hhh"), Track("aaa", 1, stream="door")])

    class During(LocalFileSystem):
        begun = False

        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            if "calls@" in target and not self.begun:
                self.begun = True
                update(order(place))

    forget(During(place), str(place), Rule(frozenset({stream()}), None, EVER_US))
    assert {row["stream_id"] for row in table(place)} == {stream("door")}
    assert verify(place).ok


def test_a_dataset_without_windows_has_no_episodes(place: Path) -> None:
    write(place, [])
    assert update(order(place)).rows == 0
    assert table(place) == []
    assert made(order(place)).rows.empty
    assert verify(place).ok


def test_no_dataset_is_an_error(tmp_path: Path) -> None:
    for call in (update, made):
        with pytest.raises(SinkError, match="not a streamfx dataset"):
            call(Order(LocalFileSystem(tmp_path), str(tmp_path), order(tmp_path).section))
    assert not list(tmp_path.iterdir())


def test_a_row_says_nothing_but_the_tables_columns(place: Path) -> None:
    write(place, [Track("hh")])
    update(order(place))
    row = {**table(place)[0], "value": "Jane Doe"}
    with pytest.raises(PrivacyRefusal, match="'value'"):
        publish_episode(row)
    with pytest.raises(PrivacyRefusal, match="differing: name"):
        publish_episode({**row, "name": "x"})
