"""The sink's file-system calls on an S3-compatible object store with conditional writes.

A name is taken by a put with `If-None-Match: *`, and a second put to it is refused. Objects are never uploaded in
parts, so an interrupted upload leaves nothing behind. Reads and listings of the store must be strongly consistent.
"""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from streamfx.config.section import http_url
from streamfx.config.sink import S3
from streamfx.errors import ConfigError, MissingComponent, SinkError

_BACKOFF_S = (0.1, 5.0)
_STATUS = re.compile(r"status code: (\d{3})")
_WORTH_REPEATING = ("408", "409", "425", "429", "500", "502", "503", "504")
_NO_BUCKET = "there is no such bucket"
_Answer = TypeVar("_Answer")


class ObjectStore:
    """`FileSystem` on `s3://bucket/prefix`. Folders are only parts of names, and an acknowledged put is durable.

    A request with a temporary failure (throttling, 5xx, a reset, a timeout) is retried with growing pauses for
    `s3.retry_s` seconds. Credentials come from the environment, as with the AWS tools. Raises MissingComponent without
    obstore.
    """

    no_exclusion = (
        "this object store accepted a second put to one name although the request had If-None-Match: *; two writers "
        "could overwrite each other's commits. Use a store with conditional writes, or a folder"
    )

    def __init__(self, url: str, s3: S3):
        try:
            import obstore
            from obstore import exceptions
            from obstore.store import S3Store
        except ImportError as error:
            raise MissingComponent("an s3:// dataset needs obstore: pip install 'streamfx[s3]'") from error
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not re.fullmatch(r"[\w.-]+", bucket, re.ASCII):
            raise SinkError(f"{url}: expected s3://bucket/prefix")
        self._obstore, self._errors = obstore, exceptions
        self._url = url
        self._retry_s = s3.retry_s
        endpoint = s3.endpoint or os.environ.get("AWS_ENDPOINT_URL")
        try:
            # The store's client panics if this is not a URL.
            endpoint = http_url(endpoint) if endpoint else None
        except ValueError as error:
            raise ConfigError(f"environment variable AWS_ENDPOINT_URL: {error}, got {endpoint!r}") from error
        place: dict[str, Any] = {"endpoint": endpoint, "region": s3.region}
        self._config = {name: value for name, value in place.items() if value is not None}
        self._client: dict[str, Any] = {
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "timeout": timedelta(seconds=s3.request_timeout_s),
        }
        where = {"prefix": prefix} if prefix else {}
        self._store = S3Store(
            bucket, **where, **self._config, client_options=self._client, retry_config={"max_retries": 0}
        )

    def for_engines(self) -> Any:
        """The store as an fsspec file system, with the same access, for query engines that read `s3://` paths."""
        from obstore.fsspec import FsspecStore

        return FsspecStore("s3", config=self._config, client_options=self._client)

    def for_deltalake(self) -> dict[str, str]:
        """The same access as deltalake's storage options."""
        options = {f"aws_{name}": str(value) for name, value in self._config.items()}
        return {**options, "aws_allow_http": str(self._client["allow_http"]).lower()}

    def for_pyiceberg(self) -> dict[str, str]:
        """The same access as the properties of pyiceberg's file access."""
        # Without a region, pyiceberg would ask AWS for that of the bucket.
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return {f"s3.{name}": str(value) for name, value in {"region": region, **self._config}.items()}

    def make_root(self) -> None:
        """Check that the bucket exists; there are no folders to create."""
        if self._repeat("", lambda: self._obstore.list_with_delimiter(self._store, "_schema")) is None:
            raise OSError(errno.EIO, _NO_BUCKET, self._url)

    def mkdir(self, path: str) -> None:
        """Does nothing, because there are no folders to create."""

    def write_new(self, path: str, data: bytes) -> None:
        """Put an object under a free name."""
        if not self._create(path, data):
            raise FileExistsError(errno.EEXIST, "exists", path)

    def write_over(self, path: str, data: bytes) -> None:
        """Put an object, replacing any other of that name."""
        self._repeat(path, lambda: self._obstore.put(self._store, path, data, use_multipart=False))

    def read(self, path: str) -> bytes:
        """Get an object."""
        data = self._repeat(path, lambda: bytes(self._obstore.get(self._store, path).bytes()))
        if data is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", path)
        return data

    def exists(self, path: str) -> bool:
        """Whether an object has this name, by a HEAD request."""
        return self._repeat(path, lambda: self._obstore.head(self._store, path)) is not None

    def listdir(self, path: str) -> list[str]:
        """The next path segments of all names that begin with the folder's name."""
        found = self._repeat(path, lambda: self._obstore.list_with_delimiter(self._store, path)) or {}
        names = [*found.get("common_prefixes", ()), *(item["path"] for item in found.get("objects", ()))]
        return sorted(name.rpartition("/")[2] for name in names)

    def walk(self, path: str) -> list[str]:
        """All names that begin with the folder's name."""
        pages = self._repeat(path, lambda: list(self._obstore.list(self._store, path))) or []
        return sorted(item["path"] for page in pages for item in page)

    def link(self, source: str, target: str) -> None:
        """Copy an object to a free name by reading and writing it, since not every store has conditional copies."""
        if not self._create(target, self.read(source)):
            raise FileExistsError(errno.EEXIST, "exists", target)

    def remove(self, path: str) -> None:
        """Delete an object."""
        self._repeat(path, lambda: self._obstore.delete(self._store, path))

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        """Replace a file by one without rows, because a copy still in progress must find the name taken."""
        try:
            data = self.read(path)
        except FileNotFoundError:
            return
        empty = emptied(data)
        if empty != data:
            self.write_over(path, empty)

    def sync_dir(self, path: str) -> None:
        """Does nothing, because acknowledged requests are durable."""

    def _create(self, path: str, data: bytes) -> bool:
        """Put an object under a free name; returns False if another object has it.

        A put without a reply may have been carried out. If the name is then taken by the same bytes, the put was ours.
        """
        unsure = False

        def put() -> bool:
            nonlocal unsure
            try:
                self._obstore.put(self._store, path, data, mode="create", use_multipart=False)
                return True
            except self._errors.AlreadyExistsError:
                with suppress(FileNotFoundError):
                    there = bytes(self._obstore.get(self._store, path).bytes())
                    return unsure and there == data
                raise  # 409: another put was in progress, and has failed
            except self._errors.GenericError:
                unsure = True
                raise

        created = self._repeat(path, put)
        if created is None:
            raise OSError(errno.EIO, _NO_BUCKET, self._url)
        return created

    def _repeat(self, path: str, request: Callable[[], _Answer]) -> _Answer | None:
        """The result of a request, which is retried; None for 404. Raises OSError if it fails for good."""
        deadline = time.monotonic() + self._retry_s
        pause_s, longest_s = _BACKOFF_S
        while True:
            try:
                return request()
            except FileNotFoundError:
                return None
            except self._errors.BaseError as error:
                if _status(error) == "404":  # from a listing
                    return None
                if not self._passing(error) or time.monotonic() + pause_s > deadline:
                    raise OSError(_code(error, self._errors), _first_line(error), path) from error
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, longest_s)

    def _passing(self, error: Exception) -> bool:
        """Whether a failure may be temporary."""
        if isinstance(error, self._errors.AlreadyExistsError):
            return True
        status = _status(error)
        return isinstance(error, self._errors.GenericError) and (status is None or status in _WORTH_REPEATING)


def _status(error: Exception) -> str | None:
    """The HTTP status of the store's reply."""
    found = _STATUS.search(str(error))
    return found[1] if found else None


def _code(error: Exception, errors: Any) -> int:
    refused = isinstance(error, (errors.PermissionDeniedError, errors.UnauthenticatedError))
    return errno.EACCES if refused else errno.EIO


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
