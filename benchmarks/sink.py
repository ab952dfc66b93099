"""Rows a second through the commit protocol: made, staged, logged, published and synced, by rows in a commit.

Rows are those of `expression`, half of them of windows and half of chunks, made by the privacy room as in the line. Each
commit is whole: files are written by fastparquet, synced, linked into the log and moved to their places.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamfx.columns import Column
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Partition
from streamfx.sink.commit import Batch
from streamfx.sink.dataset import Dataset
from streamfx.sink.identity import Identity
from streamfx.testing import START_US, make_chunk, make_privacy, make_pseudonyms, make_record, make_window

PARTITION = Partition("calls", "T0p1cId", 0)
COLUMNS = (
    *(Column(f"p_{label}", "float", f"Probability of {label}") for label in LABELS_7),
    Column("expression", "category", "The most probable expression", LABELS_7),
    Column("expression_confidence", "float", "Its probability"),
)


def made(rows: Rows, start: int, end: int) -> list[PublicRow]:
    """One row of a window and one of a chunk for each offset."""
    window, found = make_window(side=2, stream_id="cam"), []
    for offset in range(start, end):
        at = START_US + offset * 1_000_000
        own = replace(window, start_us=at, end_us=at + 2_000_000, closed_by=offset, offsets=(offset, offset))
        scores: dict[str, Any] = {f"p_{label}": (offset % 7 + number) / 49 for number, label in enumerate(LABELS_7)}
        scores |= {"expression": LABELS_7[offset % 7], "expression_confidence": 0.5}
        record = make_record(offset, b"x" * 10, partition=PARTITION, start_us=at)
        chunk = make_chunk(offset, partition=PARTITION, stream_id="cam", start_us=at, body=record.value)
        found.append(rows.publish_window(own, scores, PARTITION))
        found.append(rows.publish_chunk(record, chunk, "processed", None, at + 1_000_000, 8, 8, 1))
    return found


def run(folder: Path, rows_each: int, commits: int) -> dict[str, Any]:
    """Make and commit so many batches into a new dataset."""
    rows = Rows(make_privacy(), make_pseudonyms(), "c1", COLUMNS, {"expression": "1"})
    identity = Identity(
        cluster="cluster-1", topics={PARTITION.topic: PARTITION.topic_id}, partitions={PARTITION.topic: 1},
        pipeline=("faces", "windows", "expression", "redact"), group="streamfx",
    )  # fmt: skip
    dataset = Dataset.open(folder, identity, "c1", COLUMNS, {"purpose": "benchmark"}, with_model=("expression",))
    writer = dataset.partition(PARTITION, 1)
    made_s, commit_s = [], []
    for number in range(commits):
        start, end = number * rows_each // 2, (number + 1) * rows_each // 2
        began = time.perf_counter()
        batch = Batch(
            kind="data", start=start, end=end, rows=made(rows, start, end), records=end - start,
            snapshot={"at": end}, last_record={"offset": end - 1, "timestamp_ms": 1, "sha256": "00"},
        )  # fmt: skip
        ready = time.perf_counter()
        writer.commit(batch)
        commit_s.append(time.perf_counter() - ready)
        made_s.append(ready - began)
    committed = statistics.median(commit_s[1:])
    return {
        "rows_in_a_commit": rows_each,
        "commits": commits,
        "rows_per_s_committed": rows_each / committed,
        "rows_per_s_with_making_them": rows_each / (committed + statistics.median(made_s[1:])),
        "commit_s": commit_s,
        "made_s": made_s,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 1024, 8192, 65_536], help="rows in a commit")
    parser.add_argument("--commits", type=int, default=8)
    parser.add_argument("--dir", type=Path, help="where the datasets are written; default: the temporary folder")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": {"cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()}, "sizes": []}
    for rows_each in args.rows:
        with tempfile.TemporaryDirectory(dir=args.dir) as name:
            result["sizes"].append(run(Path(name), rows_each, args.commits))
    for one in result["sizes"] if not args.json else []:
        print(
            f"{one['rows_in_a_commit']} rows in a commit: {one['rows_per_s_committed']:,.0f} rows/s committed, "
            f"{one['rows_per_s_with_making_them']:,.0f} with making them"
        )
    if args.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
