"""Claim checks: media outside Kafka, which `publish` writes and which are read only from allowed locations."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import fsspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamfx.config.source import ClaimCheck
from streamfx.errors import BadChunk, ConfigError, MissingComponent, SourceError, StorageAway
from streamfx.patience import outlast
from streamfx.whole_files import write_whole

_PASSING_STATUSES = (408, 425, 429)
_GONE_STATUSES = (404, 410)
_Result = TypeVar("_Result")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class Claim(BaseModel):
    """The body of a claim check: the location of the media, their size in bytes and their SHA-256 in hex."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    uri: str = Field(min_length=1, max_length=4096)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ClaimCheckReader:
    """Fetches the media of claim checks, only from the allowed prefixes.

    A prefix is a folder: a local path, a `file://` URI, or a URI of any storage that fsspec supports. All symbolic
    links of a local path are resolved before it is compared with the prefixes. A remote path that is not in canonical
    form is refused.
    """

    def __init__(self, settings: ClaimCheck):
        self._max_bytes = settings.max_bytes
        self._retry_s = settings.retry_s
        self._folders: list[Path] = []
        self._remote: list[str] = []
        for prefix in settings.allowed_prefixes:
            local = _local_path(prefix)
            if local is not None:
                self._folders.append(local)
            else:
                self._remote.append(_remote_prefix(prefix))

    def fetch(self, body: bytes) -> bytes:
        """The media that the claim names, requested once.

        Raises BadChunk (`claim_check_*`), StorageAway if the storage fails temporarily, and SourceError if it refuses
        access.
        """
        try:
            claim = Claim.model_validate_json(body)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, problem["loc"])) or "body"
            raise BadChunk(
                "claim_check_invalid", f"expected JSON {{uri, bytes, sha256}}; {where}: {problem['msg']}"
            ) from None
        if claim.bytes > self._max_bytes:
            raise BadChunk(
                "claim_check_too_large",
                f"the claim is for {claim.bytes} bytes, at most {self._max_bytes} are allowed",
            )
        media = self._read(claim)
        if len(media) != claim.bytes or hashlib.sha256(media).hexdigest() != claim.sha256:
            raise BadChunk("claim_check_mismatch", "the stored media do not have the size and SHA-256 of the claim")
        return media

    def outlast(self, read: Callable[[], _Result], pause: Callable[[float], None] = time.sleep) -> _Result:
        """The result of `read`, which is retried with growing pauses while it raises StorageAway, for `retry_s`."""
        return outlast(read, StorageAway, self._retry_s, pause)

    def _read(self, claim: Claim) -> bytes:
        local = _claimed_path(claim.uri)
        try:
            return self._read_local(local, claim.bytes) if local else self._read_remote(claim.uri, claim.bytes)
        except FileNotFoundError:
            raise BadChunk("claim_check_gone", "the media are no longer where the claim says", fate="lost") from None

    def _read_local(self, path: Path, size: int) -> bytes:
        real = Path(os.path.realpath(path))
        within = [folder for folder in self._folders if real.is_relative_to(os.path.realpath(folder))]
        if not within:
            raise _forbidden()
        try:
            # O_NOFOLLOW: the last name must still be what realpath saw. O_NONBLOCK: a pipe must not block us.
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                if not any(folder.is_dir() for folder in within):
                    raise StorageAway("claim check: the allowed folder does not exist; is it mounted?") from error
                raise FileNotFoundError from error
            if error.errno == errno.ELOOP:
                raise _forbidden() from error
            raise _unreadable(error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _forbidden()
        try:
            with open(descriptor, "rb") as file:
                return file.read(size + 1)
        except OSError as error:
            raise _unreadable(error) from error

    def _read_remote(self, uri: str, size: int) -> bytes:
        if not _is_plain(uri) or not any(uri.startswith(prefix) for prefix in self._remote):
            raise _forbidden()
        try:
            with fsspec.open(uri, "rb") as file:
                return bytes(file.read(size + 1))
        except ImportError as error:
            raise _no_driver(uri, error) from error
        except Exception as error:  # each storage driver has its own errors
            raise _storage_error(uri, error) from error


class ClaimCheckWriter:
    """Stores media under their SHA-256 in a folder or under a URI prefix, and creates the claims for them."""

    def __init__(self, place: str):
        local = _local_path(place)
        self._folder = local
        self._prefix = f"{local.as_uri()}/" if local else _remote_prefix(place)

    def store(self, media: bytes, suffix: str) -> bytes:
        """Write the media and return the claim as a message body. Raises SourceError."""
        digest = hashlib.sha256(media).hexdigest()
        name = digest + suffix
        try:
            if self._folder:
                write_whole(self._folder / name, media, durable=True)
            else:
                with fsspec.open(self._prefix + name, "wb") as file:
                    file.write(media)
        except ImportError as error:
            raise _no_driver(self._prefix, error) from error
        except Exception as error:
            raise SourceError(f"cannot store a claim check under {self._prefix}: {error}") from error
        return json.dumps({"uri": self._prefix + name, "bytes": len(media), "sha256": digest}).encode()


def media_type(body: bytes) -> str:
    """The media type by the first bytes: `video/mp4` or `video/mp2t`, else `application/octet-stream`."""
    if body[4:8] in (b"ftyp", b"styp", b"moof", b"sidx"):
        return "video/mp4"
    if body[:1] == b"\x47" and body[188:189] in (b"\x47", b""):
        return "video/mp2t"
    return "application/octet-stream"


def _local_path(place: str) -> Path | None:
    """The folder that a configured prefix names, None if it is a URI of other storage."""
    if place.startswith("file://"):
        return Path(unquote(urlsplit(place).path))
    if "://" in place:
        return None
    return Path(place).absolute()


def _remote_prefix(place: str) -> str:
    prefix = place if place.endswith("/") else place + "/"
    if not _is_plain(prefix.removesuffix("/")):
        raise ConfigError(
            f"claim check: {place!r} is not a plain URI prefix; expected scheme://host/path without `..`, `?`, `#`, "
            "`%` or `@`"
        )
    return prefix


def _claimed_path(uri: str) -> Path | None:
    """The local file that a claim names, None if it names other storage. Only `file:///absolute/path` is accepted."""
    if not uri.lower().startswith("file:"):
        return None
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or parts.query
        or parts.fragment
        or not path.startswith("/")
        or "\0" in path
    ):
        raise _forbidden()
    return Path(path)


def _is_plain(uri: str) -> bool:
    """Whether a URI is unambiguous: without encoded characters, dot or empty segments, logins or chained storage."""
    scheme, found, rest = uri.partition("://")
    if not found or not _SCHEME.fullmatch(scheme) or not rest.isprintable() or not rest.isascii():
        return False
    if scheme in ("file", "local") or "::" in uri or any(character in rest for character in "\\?#%@ "):
        return False
    return all(part not in ("", ".", "..") for part in rest.split("/"))


def _forbidden() -> BadChunk:
    return BadChunk("claim_check_forbidden", "the claim's URI is not under source.claim_check.allowed_prefixes")


def _unreadable(error: OSError) -> SourceError:
    refused = error.errno in (errno.EACCES, errno.EPERM)
    return (SourceError if refused else StorageAway)(f"claim check: a local file cannot be read: {error.strerror}")


def _storage_error(uri: str, error: Exception) -> Exception:
    """Translates a storage driver's error: the media are gone, the storage refuses access, or it is unavailable."""
    # The HTTP driver reports every failure as a missing file; the actual failure is its cause.
    reason = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
    status = getattr(reason, "status", None)
    if isinstance(reason, FileNotFoundError) or status in _GONE_STATUSES:
        return FileNotFoundError()
    said = f"{type(reason).__name__}" + (f" {status}" if status else "")
    where = f"claim check: {urlsplit(uri).scheme}:// storage"
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING_STATUSES
    if refused or isinstance(reason, PermissionError):
        return SourceError(f"{where} refuses a chunk's media ({said}); check this worker's rights there")
    return StorageAway(f"{where} does not answer as it should ({said})")


def _no_driver(uri: str, error: Any) -> MissingComponent:
    return MissingComponent(
        f"claim check: storage {urlsplit(uri).scheme}:// needs a package that is not installed: {error}"
    )
