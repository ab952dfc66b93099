"""The configuration's section `sink`: where the dataset lies, and when rows are committed to it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamfx.config.section import OBJECT_STORE, RELOADABLE, Count, HttpUrl, Seconds, Section, Word


class S3(Section):
    """An S3-compatible object store with conditional writes. Credentials come from the environment alone."""

    endpoint: HttpUrl | None = None
    """URL of the store; default: AWS, or the environment's `AWS_ENDPOINT_URL`."""
    region: Word | None = None
    """Region of the bucket; default: the environment's `AWS_REGION`."""
    request_timeout_s: Seconds = 30.0
    """Seconds one request may take."""
    retry_s: Annotated[float, Field(ge=0)] = 120.0
    """Seconds for which a failed request is repeated before the run stops with an error (nothing is lost)."""


class Sink(Section):
    """The Parquet dataset."""

    path: Annotated[Path, OBJECT_STORE]
    """Folder of the dataset (local or POSIX-shared), created if absent, or `s3://bucket/prefix`."""
    roll_chunks: Annotated[Count, RELOADABLE] = 64
    """Chunks after which a partition's rows are committed."""
    roll_bytes: Annotated[Count, RELOADABLE] = 256 * 1024 * 1024
    """Bytes of chunk bodies after which a partition's rows are committed."""
    roll_event_s: Annotated[Seconds, RELOADABLE] = 300.0
    """Seconds of event time after which a partition's rows are committed."""
    idle_flush_s: Annotated[Seconds, RELOADABLE] = 10.0
    """Seconds of wall clock after which pending rows are committed."""
    compression: Literal["ZSTD", "SNAPPY", "GZIP", "UNCOMPRESSED"] = "ZSTD"
    """Parquet compression."""
    s3: S3 = S3()
    """The object store, where `path` is in one."""

    @property
    def location(self) -> str:
        """The dataset's folder, or its `s3://` URL, as text."""
        return location_of(self.path)

    @property
    def folder(self) -> Path | None:
        """The dataset's folder; None where it is in an object store."""
        return None if self.location.startswith("s3://") else self.path

    def sibling(self, ending: str) -> Path:
        """The file beside the dataset's folder whose name is the folder's and `ending`."""
        # `.` and `..` have no name of their own.
        folder = self.path if self.path.name not in ("", "..") else self.path.resolve()
        return folder.parent / f"{folder.name}{ending}"

    @property
    def beside(self) -> Path:
        """Folder on this machine for files outside the log: in the dataset, or temporary for an object store."""
        name = hashlib.sha256(os.fsencode(self.location)).hexdigest()[:12]
        return self.folder or Path(tempfile.gettempdir()) / f"streamfx-{name}"


def location_of(path: Path | str) -> str:
    """The text of a place: `s3://bucket/prefix`, also from a Path, which keeps only one of its slashes; else the
    path."""
    head, _, rest = str(path).partition(":/")
    return f"s3://{rest.lstrip('/')}" if head == "s3" else str(path)
