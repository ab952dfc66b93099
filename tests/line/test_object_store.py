"""The whole line writes to an S3-compatible store: despite kills and throttling it leaves the rows of a quiet run."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.object_store import BUCKET, CREDENTIALS, Proxy, object_store, proxy_before
from pyarrow import fs, parquet

pytest.importorskip("obstore", reason="pip install 'streamfx[s3]'")
pytestmark = pytest.mark.slow
URL = f"s3://{BUCKET}/rows"
KILLS = 3


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with object_store() as port, proxy_before(port) as made:
        made.strike_often(seed=1, rate=0.1)
        yield made


def entries(store: fs.FileSystem) -> int:
    """Number of log entries."""
    chosen = fs.FileSelector(f"{BUCKET}/rows/_commits", recursive=True, allow_not_found=True)
    return sum(file.path.endswith(".json") for file in store.get_file_info(chosen))


def keys(store: fs.FileSystem, listed: str) -> Counter[tuple[Any, ...]]:
    """Number of rows of each window key."""
    found: Counter[tuple[Any, ...]] = Counter()
    for path in listed.split():
        rows = parquet.read_table(path.removeprefix("s3://"), filesystem=store, columns=list(runs.KEY_COLUMNS))
        found.update(tuple(row[name] for name in runs.KEY_COLUMNS) for row in rows.to_pylist())
    return found


def test_the_rows_are_those_of_a_run_to_a_disk(tmp_path: Path, quickstart: Path, clip: Path, proxy: Proxy) -> None:
    config = runs.tree(tmp_path, [clip], dead_letter={"path": str(tmp_path / "dead")})
    config["source"]["files"]["chunk_s"] = 0.5
    config["sink"] = {"path": URL, "roll_chunks": 2, "s3": {"endpoint": proxy.endpoint, "request_timeout_s": 2}}
    file = runs.write_config(tmp_path, config)
    env = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": proxy.endpoint}
    # The check reads the store directly.
    store = fs.S3FileSystem(
        access_key="test", secret_key="test", endpoint_override=f"127.0.0.1:{proxy.upstream}", scheme="http"
    )
    for _ in range(KILLS):
        before = entries(store)
        process = runs.start("run", file, "--quiet", env=env)
        give_up = time.monotonic() + 120
        while entries(store) <= before and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert process.returncode == -9, "the run ended before it was killed"
    done = runs.streamfx("run", file, env=env)
    assert done.returncode == 0, done.stderr
    proxy.calm()
    report = json.loads(runs.streamfx("verify", URL, env=env).stdout)
    assert report["gaps"] == report["duplicates"] == report["orphans"] == []
    listed = runs.streamfx("files", URL, "--table", "windows", env=env)
    assert keys(store, listed.stdout) == runs.keys(quickstart / "data")
