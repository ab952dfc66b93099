"""Runs of the whole line for tests: a small configuration, the command line in a separate process, and its output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import yaml

START = "2026-01-02T03:04:05.678Z"
PATIENCE_S = 400.0
"""How long a test waits for what must come. It ends a hang and promises no time: a busy machine may be very slow."""
KEY_COLUMNS = ("stream_id", "track_id", "window_start", "config_id")
REPO = Path(__file__).parents[2]
CLIPS = REPO.parent / "shared" / "data" / "clips"


def tree(folder: Path, paths: Sequence[Path], **sections: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a configuration that reads files and writes to `folder/data`; `sections` are merged in."""
    config: dict[str, Any] = {
        "source": {"files": {"paths": [str(path) for path in paths]}},
        "privacy": {"purpose": "test", "deployment_context": "research", "stream_id_key_file": str(folder / "key")},
        "sink": {"path": str(folder / "data")},
        "serving": {"threads": 1},
    }
    if not any(path.is_dir() for path in paths):
        config["source"]["files"]["start"] = START
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(b"0123456789abcdef0123456789abcdef")
    return config


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write the configuration as a YAML file."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(dict(config)))
    return file


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start `streamfx ARGUMENTS` in a separate process."""
    command = [sys.executable, "-m", "streamfx", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def streamfx(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `streamfx ARGUMENTS` to its end."""
    command = [sys.executable, "-m", "streamfx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)


def rows(dataset: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, as a reader with a plain glob sees them."""
    files = [str(p) for p in (dataset / table).rglob("*.parquet")]
    return ds.dataset(files, format="parquet").to_table().to_pylist() if files else []


def keys(dataset: Path) -> Counter[tuple[Any, ...]]:
    """Number of rows of each window key, which should be 1."""
    return Counter(tuple(row[name] for name in KEY_COLUMNS) for row in rows(dataset, "windows"))


def fates(dataset: Path) -> Counter[str]:
    """Number of offsets by fate, with the reason where there is one."""
    return Counter(
        f"{row['fate']}:{row['reason']}" if row["reason"] else row["fate"] for row in rows(dataset, "chunks")
    )


def verified(dataset: Path, *arguments: str) -> dict[str, Any]:
    """Run `streamfx verify`, which must find nothing wrong."""
    done = streamfx("verify", dataset, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["gaps"] == report["duplicates"] == report["orphans"] == []
    return report
