"""Seconds, bytes and memory of `streamfx report` on a simulated month of 50 streams with a million windows.

The month is drawn, not filmed: each stream is on for an hour a day in chunks of 10 s, faces come and go, scores and action
units wander, and after two weeks another model answers under another configuration. Its rows are encoded by the sink's own
Parquet writer and committed by its own protocol, but made as whole columns and not by the privacy room row by row. A
commit holds `--chunks-in-a-commit` chunks of a partition; as one a day, the files are as `streamfx compact` leaves them.

The report is made by the command itself in a process of its own, whose peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streamfx.columns import Column
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.records import MICROSECONDS, Partition
from streamfx.sink.dataset import Dataset
from streamfx.sink.identity import Identity
from streamfx.sink.log import Entry
from streamfx.sink.parquet import StoredTable, encode
from streamfx.sink.protocol import LogWriter, NewFile
from streamfx.sink.schema import TableSchema

UNITS = tuple(f"au_{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 27, 45))
COLUMNS = (
    *(Column(f"p_{label}", "float", f"Probability of {label}") for label in LABELS_7),
    Column("expression", "category", "The most probable expression", LABELS_7),
    Column("expression_confidence", "float", "Its probability"),
    Column("expression_novelty", "float", "How far the face is from all that the model knows (0..1)"),
    Column("action_units_frames", "int", "Frames that action units were read from"),
    *(Column(unit, "float", f"Intensity of {unit}") for unit in UNITS),
    *(Column(f"{unit}_present", "bool", f"Whether {unit} acts") for unit in UNITS),
)
MODELS = ("expression", "action_units")
CONFIGS = ("a1b2c3d4e5f6", "f6e5d4c3b2a1")
VERSIONS = (("sha256-111111111111", "sha256-333333333333"), ("sha256-222222222222", "sha256-333333333333"))
TOPIC, TOPIC_ID = "calls", "T0p1cId"
FIRST_DAY = 20_454
"""2026-01-01, in days since 1970."""
DAY_US, CHUNK_S, HOUR_S = 86_400 * MICROSECONDS, 10, 3600
START_S = 9 * 3600
"""Each stream begins at nine, each partition's ten minutes after that of the one before."""


@dataclass(frozen=True)
class Month:
    """What is drawn: `windows` over all `days` and `streams`, which lie in `partitions`."""

    windows: int
    streams: int = 50
    days: int = 30
    partitions: int = 10
    chunks_in_a_commit: int = 100_000

    def write(self, place: Path) -> None:
        """Commit the whole month into a new dataset."""
        rng = np.random.default_rng(1)
        identity = Identity(
            "cluster", {TOPIC: TOPIC_ID}, {TOPIC: self.partitions}, ("faces", "windows", *MODELS, "redact"), "streamfx"
        )
        footer = {"purpose": "benchmark", "deployment_context": "research"}
        dataset = Dataset.open(place, identity, CONFIGS[0], COLUMNS, footer, with_model=MODELS)
        for number in range(self.partitions):
            self._write_partition(dataset, Partition(TOPIC, TOPIC_ID, number), rng)

    def _write_partition(self, dataset: Dataset, partition: Partition, rng: np.random.Generator) -> None:
        writer, offset, n = LogWriter(dataset.fs, partition), 0, 0
        writer.recover()
        of_partition = [s for s in range(self.streams) if s % self.partitions == partition.number]
        for day in range(self.days):
            later = int(day >= self.days // 2)
            chunks = pd.concat([_chunks(stream, day, later, rng) for stream in of_partition], ignore_index=True)
            chunks = chunks.sort_values("chunk_start", kind="stable", ignore_index=True)
            chunks["offset"] = offset + np.arange(len(chunks))
            chunks["partition"] = np.int32(partition.number)
            each = self.windows // (self.streams * self.days)
            windows = pd.concat([_windows(stream, day, later, each, rng) for stream in of_partition], ignore_index=True)
            windows = windows.sort_values("window_end", kind="stable", ignore_index=True)
            begun = np.searchsorted(chunks["chunk_end"].to_numpy(), windows["window_end"].to_numpy())
            windows["offset"] = chunks["offset"].to_numpy()[np.minimum(begun, len(chunks) - 1)]
            windows["first_offset"] = windows["last_offset"] = windows["offset"]
            windows["partition"] = np.int32(partition.number)
            for at in range(0, len(chunks), self.chunks_in_a_commit):
                part = chunks.iloc[at : at + self.chunks_in_a_commit]
                first, last = int(part["offset"].iloc[0]), int(part["offset"].iloc[-1])
                closed = windows[(windows["offset"] >= first) & (windows["offset"] <= last)]
                tables = {name: rows for name, rows in (("windows", closed), ("chunks", part)) if len(rows)}
                _commit(dataset, writer, n, (first, last + 1), CONFIGS[later], tables)
                n += 1
            offset += len(chunks)


def _commit(
    dataset: Dataset, writer: LogWriter, n: int, span: tuple[int, int], config_id: str, tables: dict[str, pd.DataFrame]
) -> None:
    def files(attempt: str) -> list[NewFile]:
        footer = {f"streamfx.{key}": str(value) for key, value in dataset.footer.items()} | {
            "streamfx.rows_version": "2", "streamfx.config_id": config_id, "streamfx.n": str(n),
            "streamfx.attempt": attempt, "streamfx.start": str(span[0]), "streamfx.end": str(span[1]),
        }  # fmt: skip
        made = []
        for name, rows in tables.items():
            schema: TableSchema = dataset.tables[name]
            day = str(rows[schema.date_from[0]].iloc[0].date())
            frame = rows[[column.name for column in schema.columns]].reset_index(drop=True)
            made.append(NewFile(name, day, encode(StoredTable(schema.columns, frame, footer, "ZSTD")), len(rows)))
        return made

    last = tables["chunks"]["append_time"].iloc[-1]
    draft = Entry(
        "data", n, "", *span, span[1] - span[0], (), {},
        {"offset": span[1] - 1, "timestamp_ms": last.value // 10**6, "sha256": "0"},
        config_id, dataset.identity.partitions[TOPIC], 1, {}, "",
    )  # fmt: skip
    entry = writer.link(writer.stage(draft, files))
    writer.finish(entry)


def _chunks(stream: int, day: int, later: int, rng: np.random.Generator) -> pd.DataFrame:
    """An hour of a stream; one hour in 50 lacks five minutes in its middle, and some chunks have no face."""
    number = HOUR_S // CHUNK_S
    start = _begin_us(stream, day) + np.arange(number) * CHUNK_S * MICROSECONDS
    kept = np.ones(number, bool)
    if rng.random() < 0.02:
        kept[180:210] = False
    fate = np.where(rng.random(number) < 0.3, "no_face", "processed").astype(object)
    reason = np.full(number, None, object)
    bad = rng.random(number) < 0.002
    fate[bad], reason[bad] = "undecodable", "no_keyframe"
    rows = pd.DataFrame(
        {
            "topic": TOPIC, "stream_id": _name(stream, day), "seq": pd.array(np.arange(number), dtype="Int64"),
            "chunk_start": _instants(start), "chunk_end": _instants(start + CHUNK_S * MICROSECONDS),
            "append_time": _instants(start + CHUNK_S * MICROSECONDS + rng.gamma(2, 2e5, number).astype(np.int64)),
            "fate": fate, "reason": reason, "frames": np.int32(80), "faces": np.int32(16), "windows": np.int32(2),
            "bytes": rng.integers(300_000, 900_000, number), "config_id": CONFIGS[later], "purpose": "benchmark",
        }
    )  # fmt: skip
    rows["seq"] = rows["seq"].astype("Int64")
    return rows[kept]


def _windows(stream: int, day: int, later: int, number: int, rng: np.random.Generator) -> pd.DataFrame:
    """`number` windows of a stream's hour, of tracks of some 30 windows each."""
    lengths = rng.geometric(1 / 30, number)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), number)) + 1]
    lengths[-1] -= int(lengths.sum()) - number
    track = np.repeat(np.arange(len(lengths)), lengths)
    begin = rng.integers(0, HOUR_S - 200, len(lengths))
    second = np.repeat(begin, lengths) + np.arange(number) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    start = _begin_us(stream, day) + second * MICROSECONDS
    kind = np.repeat(rng.dirichlet(np.array([4, 3, 1, 1, 1, 1, 2]) / 4, len(lengths)), lengths, axis=0)
    scores = kind * rng.gamma(2, 1, (number, len(LABELS_7))) + 1e-6
    scores /= scores.sum(axis=1, keepdims=True)
    best = scores.argmax(axis=1)
    units = np.clip(
        rng.normal(1, 0.8, (len(lengths), len(UNITS)))[track] + rng.normal(0, 0.4, (number, len(UNITS))), 0, 5
    )
    covered = rng.random(number) < 0.05
    columns: dict[str, Any] = {
        "stream_id": _name(stream, day),
        "track_id": np.array([f"{_name(stream, day)[:24]}{one:08x}" for one in range(len(lengths))], object)[track],
        "window_start": _instants(start), "window_end": _instants(start + 2 * MICROSECONDS),
        "frames": rng.integers(8, 17, number).astype(np.int32), "face_score": rng.beta(9, 1, number),
        "face_height_px": rng.gamma(20, 4, len(lengths))[track] + rng.normal(0, 2, number),
        "audio_present": rng.random(number) < 0.9,
        **{f"p_{label}": scores[:, at] for at, label in enumerate(LABELS_7)},
        "expression": np.array(LABELS_7, object)[best], "expression_confidence": scores.max(axis=1),
        "expression_novelty": rng.beta(1, 9, number), "action_units_frames": pd.array(np.where(covered, 0, 16), dtype="Int64"),
        **{unit: np.where(covered, np.nan, units[:, at]) for at, unit in enumerate(UNITS)},
        **{f"{unit}_present": _flags(units[:, at] > 1, covered) for at, unit in enumerate(UNITS)},
        **{f"{name}_model_version": VERSIONS[later][at] for at, name in enumerate(MODELS)},
        "config_id": CONFIGS[later], "purpose": "benchmark", "topic": TOPIC,
    }  # fmt: skip
    return pd.DataFrame(columns)


def _flags(values: Any, missing: Any) -> Any:
    return pd.array(np.where(missing, None, values), dtype="boolean")


def _begin_us(stream: int, day: int) -> int:
    return (FIRST_DAY + day) * DAY_US + (START_S + stream % 10 * 600) * MICROSECONDS


def _instants(microseconds: Any) -> Any:
    return pd.Series(np.asarray(microseconds, np.int64).view("datetime64[us]")).dt.tz_localize("UTC")


def _name(stream: int, day: int) -> str:
    """A pseudonym as long as the real ones, which changes each day."""
    return hashlib.blake2b(f"{stream} {day}".encode(), digest_size=16).hexdigest()


def measure(place: Path, out: Path) -> dict[str, Any]:
    """Make the report in a process of its own: seconds on the clock and of CPU, peak memory, and what the command says."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "streamfx", "report", str(place), "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    clock_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": clock_s,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_memory_mb": after.ru_maxrss / 1024,
        **{key: value for key, value in json.loads(done.stdout).items() if key != "out"},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--chunks-in-a-commit", type=int, default=Month(0).chunks_in_a_commit)
    parser.add_argument(
        "--dir", type=Path, help="where the dataset and the page are left, and a dataset is found again"
    )
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    month = Month(args.windows, chunks_in_a_commit=args.chunks_in_a_commit)
    with tempfile.TemporaryDirectory() as name:
        folder = args.dir or Path(name)
        place = folder / "month"
        if not place.exists():
            month.write(place)
        result = {
            "machine": {"cpus": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()},
            "month": asdict(month),
            "files": sum(1 for _ in place.rglob("*.parquet")),
            **measure(place, folder / "report.html"),
        }
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(
            f"{result['windows']:,} windows: {result['seconds']:.1f} s on the clock, {result['cpu_s']:.1f} s of CPU, "
            f"{result['bytes'] / 1e6:.2f} MB, at most {result['peak_memory_mb']:.0f} MB of memory"
        )


if __name__ == "__main__":
    main()
