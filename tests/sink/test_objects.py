"""The same guarantees on an S3-compatible store over HTTP, while it throttles, disconnects and loses replies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from helpers.object_store import BUCKET, CREDENTIALS, FAULTS, Proxy, object_store, proxy_before

from streamfx.cli.main import main
from streamfx.config.sink import S3, location_of
from streamfx.errors import CommitLost, ConfigError, DatasetMismatch, SinkError
from streamfx.pipeline import load_config
from streamfx.records import Partition
from streamfx.sink.current_files import shown_files
from streamfx.sink.erasure import Rule
from streamfx.sink.maintain import compact, forget
from streamfx.sink.objects import ObjectStore
from streamfx.sink.verify import verify

pytest.importorskip("obstore", reason="pip install 'streamfx[s3]'")

START_US = 1_700_000_000_000_000
_prefixes = count()


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    """The port of an S3 server with one bucket."""
    with object_store() as port:
        yield port


@pytest.fixture
def proxy(moto: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with proxy_before(moto) as made:
        yield made


@pytest.fixture
def s3(proxy: Proxy) -> S3:
    return S3(endpoint=proxy.endpoint, request_timeout_s=1.0, retry_s=20.0)


@pytest.fixture
def url() -> str:
    """A separate place for each test."""
    return f"s3://{BUCKET}/some/where/{next(_prefixes)}"


@pytest.fixture
def fs(url: str, s3: S3) -> ObjectStore:
    return ObjectStore(url, s3)


@pytest.fixture
def writer(fs: ObjectStore, open_dataset: Any, partition: Partition) -> Any:
    return open_dataset(fs=fs).partition(partition)


def offsets(fs: ObjectStore, table: str) -> list[int]:
    """The offsets in the files that a glob over the final places finds."""
    files = [pyarrow.parquet.ParquetFile(io.BytesIO(fs.read(path))) for path in fs.walk(table)]
    return sorted(offset for file in files for offset in file.read(["offset"])["offset"].to_pylist())


def test_a_commit_and_a_restart(
    fs: ObjectStore, writer: Any, open_dataset: Any, partition: Partition, rows: Any, url: str, s3: S3
) -> None:
    writer.commit(rows.batch(0, 3))
    head = writer.commit(rows.batch(3, 5))
    assert open_dataset(fs=fs).partition(partition).recover() == head
    assert offsets(fs, "windows") == offsets(fs, "chunks") == [0, 1, 2, 3, 4]
    assert fs.walk("_staging") == []
    report = verify(url, {("calls", 0): range(5)}, s3)
    assert (report.ok, report.rows) == (True, {"windows": 5, "chunks": 5})


def test_objects_are_put_in_one_request_so_nothing_stays_incomplete(writer: Any, rows: Any, proxy: Proxy) -> None:
    writer.commit(rows.batch(0, 3))
    assert not any("uploads" in path or "uploadId" in path for _, path in proxy.requests)


def test_an_endpoint_in_the_environment_that_is_not_a_url_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "store:9000")
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL: expected a URL .* got 'store:9000'"):
        ObjectStore("s3://bucket/prefix", S3())


@pytest.mark.parametrize("bucket", ["", "a b", "a^b"])
def test_an_impossible_bucket_name_is_refused(bucket: str) -> None:
    with pytest.raises(SinkError, match="expected s3://bucket/prefix"):
        ObjectStore(f"s3://{bucket}/prefix", S3())


def test_another_run_is_refused_in_an_object_store(fs: ObjectStore, writer: Any, open_dataset: Any) -> None:
    with pytest.raises(DatasetMismatch, match="group is 'streamfx' there and 'other' here"):
        open_dataset(fs=fs, group="other")


def test_of_two_writers_the_second_loses_and_follows(
    fs: ObjectStore, writer: Any, open_dataset: Any, partition: Partition, rows: Any
) -> None:
    second = open_dataset(fs=fs).partition(partition)
    second.recover()
    won = writer.commit(rows.batch(0, 3))
    with pytest.raises(CommitLost) as lost:
        second.commit(rows.batch(0, 5))
    assert lost.value.head == won
    second.commit(rows.batch(3, 5))
    assert offsets(fs, "chunks") == [0, 1, 2, 3, 4]


REQUESTS = (
    ("PUT", "/_staging/"),
    ("PUT", "/_commits/"),
    ("PUT", "/windows/"),
    ("PUT", "/chunks/"),
    ("GET", "/_staging/"),
    ("HEAD", "/_commits/"),
    ("POST", "delete"),
    ("GET", "list-type"),
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "part"), REQUESTS)
def test_any_request_may_fail_once(
    fs: ObjectStore, writer: Any, rows: Any, proxy: Proxy, url: str, s3: S3, method: str, part: str, fault: str
) -> None:
    if fault == "409" and method != "PUT":
        pytest.skip("only a put can be in conflict")
    writer.recover()
    proxy.strike_once(fault, method, part)
    writer.commit(rows.batch(0, 2))
    writer.recover()
    writer.commit(rows.batch(2, 3))
    assert proxy.fault(method, part) is None, "the fault was never drawn"
    assert offsets(fs, "windows") == offsets(fs, "chunks") == [0, 1, 2]
    assert verify(url, {("calls", 0): range(3)}, s3).ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_two_writers_on_a_store_where_every_sixth_request_fails(
    fs: ObjectStore, open_dataset: Any, partition: Partition, rows: Any, proxy: Proxy, url: str, s3: S3, seed: int
) -> None:
    proxy.strike_often(seed, 1 / 6)
    writers = [open_dataset(fs=ObjectStore(url, s3)).partition(partition) for _ in range(2)]
    heads = [writer.recover() for writer in writers]
    for turn in range(12):
        which = (turn * 7 + seed) % 2
        start = heads[which].end or 0
        try:
            heads[which] = writers[which].commit(rows.batch(start, start + 1 + turn % 3))
        except CommitLost as lost:
            heads[which] = lost.head
        if turn % 5 == 4:
            compact(fs, url)
    proxy.calm()
    end = writers[0].recover().end
    assert offsets(fs, "windows") == offsets(fs, "chunks") == list(range(end))
    assert verify(url, {("calls", 0): range(end)}, s3).ok


def test_a_store_that_ignores_the_condition_is_refused(fs: ObjectStore, open_dataset: Any, proxy: Proxy) -> None:
    proxy.conditional = False
    with pytest.raises(SinkError, match=r"accepted a second put to one name.*Use a store with conditional writes"):
        open_dataset(fs=fs)


@pytest.mark.parametrize(("status", "says"), [("501", "501"), ("403", "right to write there")])
def test_a_permanent_failure_is_not_retried(
    fs: ObjectStore, open_dataset: Any, proxy: Proxy, status: str, says: str
) -> None:
    proxy.strike_once(status, "PUT", "_staging")
    with pytest.raises(SinkError, match=f"cannot open the dataset: .*{says}"):
        open_dataset(fs=fs)
    assert sum(method == "PUT" for method, _ in proxy.requests) == 1


def test_an_unavailable_store_gives_one_clear_error_and_the_same_commit_may_be_repeated(
    open_dataset: Any, partition: Partition, rows: Any, proxy: Proxy, url: str
) -> None:
    fs = ObjectStore(url, S3(endpoint=proxy.endpoint, request_timeout_s=1.0, retry_s=0.2))
    writer = open_dataset(fs=fs).partition(partition)
    writer.recover()
    batch = rows.batch(0, 2)
    proxy.fault = lambda method, path: "503" if method == "PUT" and "_commits" in path else None
    with pytest.raises(SinkError, match=r"cannot commit entry 0: .*503.* Nothing that is committed is lost"):
        writer.commit(batch)
    proxy.calm()
    writer.commit(batch)
    assert offsets(fs, "chunks") == [0, 1]


def test_a_missing_bucket_gives_one_clear_error(open_dataset: Any, s3: S3) -> None:
    with pytest.raises(SinkError, match="no such bucket"):
        open_dataset(fs=ObjectStore("s3://nowhere/at/all", s3))


def test_a_merged_file_becomes_one_without_rows_and_its_name_stays_taken(
    fs: ObjectStore, writer: Any, rows: Any, url: str, s3: S3
) -> None:
    for start in (0, 2):
        writer.commit(rows.batch(start, start + 2))
    old = fs.walk("windows")
    before = fs.read(old[0])
    compact(fs, url)
    assert offsets(fs, "windows") == offsets(fs, "chunks") == [0, 1, 2, 3]
    spent = pyarrow.parquet.ParquetFile(io.BytesIO(fs.read(old[0])))
    assert spent.metadata.num_rows == 0
    assert spent.schema_arrow.equals(pyarrow.parquet.read_schema(io.BytesIO(before)).remove_metadata())
    # A copy that somebody began before the merge, and that arrives only now, finds the name taken.
    fs.write_over("_staging/late", before)
    with pytest.raises(FileExistsError):
        fs.link("_staging/late", old[0])
    fs.remove("_staging/late")
    assert len(shown_files(fs, url)) == 2
    assert verify(url, {("calls", 0): range(4)}, s3).ok


def test_erased_rows_are_gone_and_later_writers_leave_them_out(
    fs: ObjectStore, writer: Any, rows: Any, url: str, s3: S3
) -> None:
    writer.commit(rows.batch(0, 3))
    forget(fs, url, Rule(None, START_US + 1_000_000, START_US + 4_000_000))
    with pytest.raises(CommitLost):
        writer.commit(rows.batch(3, 5))
    writer.commit(rows.batch(3, 5))
    assert offsets(fs, "windows") == [0, 4]
    assert offsets(fs, "chunks") == [0, 1, 2, 3, 4]
    assert verify(url, {("calls", 0): range(5)}, s3).ok


@pytest.mark.parametrize("fault", ["reset", "lost"])
def test_erasing_succeeds_while_requests_fail(
    fs: ObjectStore, writer: Any, rows: Any, proxy: Proxy, url: str, s3: S3, fault: str
) -> None:
    writer.commit(rows.batch(0, 3))
    turns = count()
    proxy.fault = lambda method, path: fault if next(turns) % 4 == 1 else None
    forget(fs, url, Rule(None, None, START_US + 2_000_000))
    proxy.calm()
    assert offsets(fs, "windows") == [2]
    assert verify(url, None, s3).ok


def test_the_commands_accept_a_url(
    fs: ObjectStore, writer: Any, rows: Any, url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.commit(rows.batch(0, 2))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    for command in (["verify", url], ["files", url], ["compact", url], ["retain", url, "--older-than", "1d", "--yes"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    listed = CliRunner().invoke(main, ["files", url, "--table", "chunks"]).output.splitlines()
    assert all(path.startswith(f"{url}/chunks/date=2023-11-14/") for path in listed)
    assert offsets(fs, "windows") == []


def tree(url: str, **more: Any) -> dict[str, Any]:
    return {
        "source": {"files": {"paths": ["a.mp4"]}},
        "privacy": {"purpose": "test", "deployment_context": "research", "stream_id_key_env": "KEY"},
        "sink": {"path": url, "s3": {"endpoint": "http://127.0.0.1:1"}},
        "dead_letter": {"path": "out/dead"},
        **more,
    }


def test_a_configuration_names_a_place_in_an_object_store(url: str) -> None:
    sink = load_config(tree(url)).sink
    assert (sink.location, sink.folder) == (url, None)
    assert sink.beside.is_absolute()
    assert location_of("s3://a/b/") == location_of(Path("s3://a/b")) + "/"


def test_other_files_of_a_run_need_their_own_place(url: str) -> None:
    with pytest.raises(ConfigError, match=r"give dead_letter\.path or dead_letter\.topic"):
        load_config(tree(url, dead_letter={}))
    with pytest.raises(ConfigError, match=r"give privacy\.stream_id_key_file or _env"):
        load_config(tree(url, privacy={"purpose": "test", "deployment_context": "research"}))
