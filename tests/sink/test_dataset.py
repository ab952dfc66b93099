"""The identity of a dataset, and the registered versions of its tables' columns."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamfx.columns import Column
from streamfx.errors import DatasetMismatch, SinkError
from streamfx.records import Partition
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.stored_schema import stored_columns


def test_the_first_run_stores_its_identity_and_the_same_run_may_return(open_dataset: Any, tmp_path: Path) -> None:
    open_dataset()
    assert open_dataset().schema_version == 1
    assert json.loads((tmp_path / "out/_dataset.json").read_text()) == {
        "format": 1,
        "cluster": "cluster-1",
        "topics": {"calls": "T0p1cId"},
        "partitions": {"calls": 1},
        "pipeline": ["faces", "windows", "expression", "redact"],
        "group": "streamfx",
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cluster": "cluster-2"}, "cluster is 'cluster-1' there and 'cluster-2' here"),
        ({"topics": {"calls": "0ther"}}, "topics is"),
        ({"pipeline": ("faces", "windows", "redact")}, "pipeline is"),
        ({"group": "other"}, "group is 'streamfx' there and 'other' here"),
        ({"sensitive": "age"}, r"kind \(none\), and this run has age"),
    ],
)
def test_a_different_run_is_refused_with_the_difference(open_dataset: Any, change: dict[str, Any], named: str) -> None:
    open_dataset()
    with pytest.raises(DatasetMismatch, match=named):
        open_dataset(**change)


def test_a_dataset_keeps_its_kind_of_sensitive_columns(open_dataset: Any) -> None:
    open_dataset(sensitive="age")
    open_dataset(sensitive="age")
    for other in ("sex", None):
        with pytest.raises(DatasetMismatch, match="rows of two kinds never lie in one dataset"):
            open_dataset(sensitive=other)


def test_a_dataset_keeps_its_pseudonym_key(open_dataset: Any) -> None:
    open_dataset(key_digest="k1")
    open_dataset(key_digest="k1")
    with pytest.raises(DatasetMismatch, match="made with another pseudonym key"):
        open_dataset(key_digest="k2")


def test_a_dataset_that_was_begun_before_keys_were_kept_takes_any(open_dataset: Any) -> None:
    open_dataset()
    open_dataset(key_digest="k1")
    open_dataset(key_digest="k2")


def test_a_changed_partition_count_or_configuration_is_not_a_mismatch(open_dataset: Any) -> None:
    open_dataset()
    open_dataset(partitions={"calls": 8}, config_id="c2")


def test_a_recreated_topic_is_refused(open_dataset: Any, partition: Partition) -> None:
    with pytest.raises(DatasetMismatch, match="with id T0p1cId, got id N3w"):
        open_dataset().partition(replace(partition, topic_id="N3w"))
    with pytest.raises(DatasetMismatch, match="belongs to another run"):
        open_dataset().partition(replace(partition, topic="others"))


@pytest.mark.parametrize("topic", ["..", "a/b", "", "x" * 181, "a@b"])
def test_a_topic_that_cannot_be_a_folder_name_is_refused(open_dataset: Any, topic: str) -> None:
    with pytest.raises(SinkError, match="cannot be used as a folder name"):
        open_dataset(topics={}).partition(Partition(topic, "", 0))


def test_the_same_columns_keep_their_schema_version_and_any_change_raises_it(
    open_dataset: Any, operator_columns: tuple[Column, ...]
) -> None:
    more = (*operator_columns, Column("au_12", "float", "Lip corner puller"))
    described = (replace(operator_columns[0], description="otherwise"), *operator_columns[1:])
    assert open_dataset().schema_version == 1
    assert open_dataset(columns=more).schema_version == 2
    assert open_dataset(columns=described).schema_version == 3
    assert open_dataset(columns=()).schema_version == 4
    assert open_dataset().schema_version == 1


def test_units_and_ranges_are_registered_where_readers_of_older_versions_do_not_look(
    open_dataset: Any, operator_columns: tuple[Column, ...], tmp_path: Path
) -> None:
    assert open_dataset().schema_version == 1
    limited = (replace(operator_columns[0], unit="probability", low=0, high=1), *operator_columns[1:])
    assert open_dataset(columns=limited).schema_version == 2
    assert open_dataset().schema_version == 1
    without, with_them = (json.loads((tmp_path / f"out/_schema/00000{n}.json").read_text()) for n in (1, 2))
    assert with_them["tables"] == without["tables"]
    assert "limits" not in without
    assert with_them["limits"] == {"windows": {"p_happiness": {"unit": "probability", "low": 0, "high": 1}}}


def test_a_range_over_all_configurations_holds_the_values_of_all(
    open_dataset: Any, operator_columns: tuple[Column, ...], tmp_path: Path
) -> None:
    def stored(**limits: Any) -> tuple[str, float | None, float | None]:
        open_dataset(columns=(replace(operator_columns[0], **limits), *operator_columns[1:]))
        columns = stored_columns(LocalFileSystem(tmp_path / "out"), "out")["windows"]
        (column,) = (column for column in columns if column.name == "p_happiness")
        return column.unit, column.low, column.high

    assert stored(unit="probability", low=0, high=1) == ("probability", 0, 1)
    assert stored(unit="percent", low=0, high=100) == ("percent", 0, 100)
    assert stored(unit="percent", low=-1) == ("percent", -1, None)
    assert stored() == ("", None, None)


def test_a_column_may_not_change_its_type(open_dataset: Any, operator_columns: tuple[Column, ...]) -> None:
    open_dataset()
    changed = (replace(operator_columns[0], kind="int"), *operator_columns[1:])
    with pytest.raises(DatasetMismatch, match="'p_happiness' of windows is float in older files and int64 now"):
        open_dataset(columns=changed)


def test_times_without_a_zone_may_become_instants_and_never_the_other_way(open_dataset: Any, tmp_path: Path) -> None:
    open_dataset()
    path = tmp_path / "out/_schema/000001.json"
    older = path.read_text().replace('"kind": "instant"', '"kind": "timestamp"')
    assert older != path.read_text()
    path.write_text(older)
    assert open_dataset().schema_version == 2
    path.write_text(older.replace('"kind": "timestamp"', '"kind": "int64"'))
    with pytest.raises(DatasetMismatch, match="'window_start' of windows is int64 in older files and instant now"):
        open_dataset()


def test_an_operator_may_not_declare_a_core_column(open_dataset: Any) -> None:
    with pytest.raises(SinkError, match="offset are declared twice or are the engine's own"):
        open_dataset(columns=(Column("offset", "int", "mine"),))


def test_many_processes_may_open_a_new_dataset_at_once(open_dataset: Any, tmp_path: Path) -> None:
    opened: list[Any] = []
    threads = [threading.Thread(target=lambda: opened.append(open_dataset())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [dataset.schema_version for dataset in opened] == [1] * 8
    assert sorted(p.name for p in (tmp_path / "out/_schema").iterdir()) == ["000001.json"]
    assert not list((tmp_path / "out/_staging").iterdir())


def test_a_folder_that_cannot_be_created_gives_one_clear_error(open_dataset: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file is in the way")
    with pytest.raises(SinkError, match=r"cannot open the dataset: .*out"):
        open_dataset()


def test_a_read_only_file_system_gives_one_clear_error(open_dataset: Any, tmp_path: Path) -> None:
    class ReadOnly(LocalFileSystem):
        def write_new(self, path: str, data: bytes) -> None:
            raise OSError(errno.EROFS, "Read-only file system", path)

    open_dataset()
    with pytest.raises(SinkError, match=r"mount it writable, or set sink\.path to another folder"):
        open_dataset(fs=ReadOnly(tmp_path / "out"))


def test_a_file_system_on_which_links_overwrite_names_is_refused(open_dataset: Any, tmp_path: Path) -> None:
    class Careless(LocalFileSystem):
        def link(self, source: str, target: str) -> None:
            self.remove(target)
            super().link(source, target)

    with pytest.raises(SinkError, match="lets two writers create the same name"):
        open_dataset(fs=Careless(tmp_path / "out"))


def test_a_damaged_identity_gives_one_clear_error(open_dataset: Any, tmp_path: Path) -> None:
    open_dataset()
    (tmp_path / "out/_dataset.json").write_text("{")
    with pytest.raises(SinkError, match=r"_dataset\.json is damaged"):
        open_dataset()
