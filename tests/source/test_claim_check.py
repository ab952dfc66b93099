"""Claim checks: media are read only from allowed locations, and accepted only if they match the claim."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pytest

from streamfx.config.source import ClaimCheck
from streamfx.errors import BadChunk, ConfigError, SourceError
from streamfx.source.claim_check import ClaimCheckReader, ClaimCheckWriter, media_type

MEDIA = b"\0\0\0\x18ftypisom" + b"media" * 20


def claim(uri: str, media: bytes = MEDIA, **changes: Any) -> bytes:
    known = {"uri": uri, "bytes": len(media), "sha256": hashlib.sha256(media).hexdigest()}
    return json.dumps(known | changes).encode()


def reader(*prefixes: str | Path, max_bytes: int = 10_000) -> ClaimCheckReader:
    return ClaimCheckReader(ClaimCheck(allowed_prefixes=[str(prefix) for prefix in prefixes], max_bytes=max_bytes))


def reason(claims: ClaimCheckReader, body: bytes) -> str:
    with pytest.raises(BadChunk) as caught:
        claims.fetch(body)
    return caught.value.reason


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(MEDIA)
    (tmp_path / "secret").write_bytes(MEDIA)
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "a.mp4").write_bytes(MEDIA)
    return folder


def test_a_file_in_an_allowed_folder_is_read(allowed: Path) -> None:
    for prefix in (allowed, f"{allowed}/", allowed.as_uri()):
        assert reader(prefix).fetch(claim((allowed / "a.mp4").as_uri())) == MEDIA


def test_nothing_is_allowed_by_default(allowed: Path) -> None:
    assert reason(reader(), claim((allowed / "a.mp4").as_uri())) == "claim_check_forbidden"


def test_no_path_leads_out_of_the_allowed_folder(allowed: Path) -> None:
    outside = allowed.parent / "secret"
    (allowed / "link.mp4").symlink_to(outside)
    (allowed / "up").symlink_to(allowed.parent)
    base = f"file://{allowed}"
    for uri in (
        outside.as_uri(),
        (allowed.parent / "allowed-not" / "a.mp4").as_uri(),
        f"{base}/../secret",
        f"{base}/%2e%2e/secret",
        f"{base}/{quote('../secret', safe='')}",
        f"{base}/link.mp4",
        f"{base}/up/secret",
        f"{base}",
        f"FILE://{allowed}/../secret",
        f"file://elsewhere{allowed}/a.mp4",
        f"local://{allowed}/a.mp4",
        str(allowed / "a.mp4"),
        f"simplecache::{base}/a.mp4",
        "/etc/passwd",
        "file:/etc/passwd",
    ):
        assert reason(reader(allowed), claim(uri)) == "claim_check_forbidden", uri


def test_a_link_within_the_allowed_folder_is_followed(allowed: Path) -> None:
    (allowed / "link.mp4").symlink_to(allowed / "a.mp4")
    assert reader(allowed).fetch(claim((allowed / "link.mp4").as_uri())) == MEDIA


def test_a_pipe_does_not_block(allowed: Path) -> None:
    os.mkfifo(allowed / "pipe")
    assert reason(reader(allowed), claim((allowed / "pipe").as_uri())) == "claim_check_forbidden"


def test_media_that_are_gone_are_lost(allowed: Path) -> None:
    for name in ("b.mp4", "a.mp4/b.mp4", "x" * 300):
        with pytest.raises(BadChunk) as caught:
            reader(allowed).fetch(claim(f"file://{allowed}/{name}"))
        assert (caught.value.reason, caught.value.fate) == ("claim_check_gone", "lost")


def test_media_that_differ_from_the_claim_are_refused(allowed: Path) -> None:
    uri = (allowed / "a.mp4").as_uri()
    assert reason(reader(allowed), claim(uri, MEDIA[:-1])) == "claim_check_mismatch"
    assert reason(reader(allowed), claim(uri, MEDIA + b"x")) == "claim_check_mismatch"
    assert reason(reader(allowed), claim(uri, sha256="0" * 64)) == "claim_check_mismatch"
    assert reason(reader(allowed, max_bytes=10), claim(uri)) == "claim_check_too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"\xff",
        claim("file:///a", bytes=-1),
        claim("file:///a", bytes="12"),
        claim("file:///a", sha256="ABC"),
        claim("file:///a", extra=1),
        json.dumps({"uri": "file:///a"}).encode(),
    ],
)
def test_a_malformed_claim_is_reported_without_its_content(body: bytes) -> None:
    with pytest.raises(BadChunk) as caught:
        reader("/allowed").fetch(body)
    assert caught.value.reason == "claim_check_invalid"
    assert "file:///a" not in caught.value.detail


def test_other_storage_is_read_through_fsspec_within_its_prefix() -> None:
    storage = fsspec.filesystem("memory")
    for path in ("/claims/a.mp4", "/claims-not/a.mp4", "/secret"):
        storage.pipe(path, MEDIA)
    claims = reader("memory://claims")
    assert claims.fetch(claim("memory://claims/a.mp4")) == MEDIA
    assert reason(claims, claim("memory://claims/none.mp4")) == "claim_check_gone"
    for uri in (
        "memory://claims-not/a.mp4",
        "memory://claims/../secret",
        "memory://claims/%2e%2e/secret",
        "memory://claims//a.mp4",
        "memory://claims/a.mp4?x=1",
        "memory://claims/x@y",
        "MEMORY://claims/a.mp4",
        "memory://claims\\a.mp4",
    ):
        assert reason(claims, claim(uri)) == "claim_check_forbidden", uri


@pytest.mark.parametrize("prefix", ["s3://bucket/../x", "s3://key:secret@host/x", "zip://a::file:///b", "http://h/a?b"])
def test_an_ambiguous_prefix_is_a_configuration_error(prefix: str) -> None:
    with pytest.raises(ConfigError, match="not a plain URI prefix"):
        reader(prefix)


def test_stored_media_can_be_fetched(tmp_path: Path) -> None:
    for place in (str(tmp_path / "new folder"), "memory://stored/here"):
        writer = ClaimCheckWriter(place)
        body = writer.store(MEDIA, ".mp4")
        assert writer.store(MEDIA, ".mp4") == body
        assert reader(place).fetch(body) == MEDIA
    assert len(list((tmp_path / "new folder").iterdir())) == 1


def test_a_place_that_cannot_be_written_to_raises_source_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="cannot store a claim check"):
        ClaimCheckWriter(str(tmp_path / "file" / "x")).store(MEDIA, ".mp4")


def test_the_media_type_is_detected_from_the_first_bytes() -> None:
    assert media_type(MEDIA) == "video/mp4"
    assert media_type((b"\x47" + bytes(187)) * 2) == "video/mp2t"
    assert media_type(b"anything") == "application/octet-stream"
