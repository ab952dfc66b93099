"""Opens the place of a dataset, which is a folder or a prefix in an object store."""

from __future__ import annotations

from pathlib import Path

from streamfx.config.sink import S3, location_of
from streamfx.sink.fs import FileSystem, LocalFileSystem
from streamfx.sink.objects import ObjectStore


def open_place(path: Path | str, s3: S3 | None = None) -> FileSystem:
    """The file-system calls at `path`: a folder, or `s3://bucket/prefix`."""
    location = location_of(path)
    return ObjectStore(location, s3 or S3()) if location.startswith("s3://") else LocalFileSystem(Path(path))
