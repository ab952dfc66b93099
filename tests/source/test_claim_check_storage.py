"""Claim-check storage that fails: temporary errors are retried, missing media are lost, refusals stop the run."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamfx.config.source import ClaimCheck
from streamfx.errors import BadChunk, SourceError, StorageAway
from streamfx.source.claim_check import ClaimCheckReader

MEDIA = b"\0\0\0\x18ftypisom" + b"media" * 20


class Storage(ThreadingHTTPServer):
    """A web server that replies to each GET with the next of `answers`, and then with the media."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            server: Storage

            def do_HEAD(self) -> None:
                self._answer(self.server.answers[0] if self.server.answers else 200)

            def do_GET(self) -> None:
                # The driver sends two requests: one for the file's properties and one for its bytes.
                self._answer(self.server.answers.pop(0) if self.server.answers else 200)

            def _answer(self, status: int) -> None:
                if not status:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(MEDIA) if status == 200 else 0))
                self.end_headers()
                if status == 200 and self.command == "GET":
                    self.wfile.write(MEDIA)

            def log_message(self, format: str, *args: object) -> None:
                """Does not log requests."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []

    @property
    def prefix(self) -> str:
        """The allowed prefix."""
        return f"http://127.0.0.1:{self.server_port}/claims"


@pytest.fixture
def storage() -> Iterator[Storage]:
    pytest.importorskip("aiohttp", reason="claim checks over HTTP need aiohttp")
    server = Storage()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def claim(prefix: str) -> bytes:
    return json.dumps(
        {"uri": f"{prefix}/a.mp4", "bytes": len(MEDIA), "sha256": hashlib.sha256(MEDIA).hexdigest()}
    ).encode()


def reader(prefix: str, retry_s: float = 300.0) -> ClaimCheckReader:
    return ClaimCheckReader(ClaimCheck(allowed_prefixes=[prefix], retry_s=retry_s))


@pytest.mark.parametrize("failure", [500, 502, 503, 504, 429, 408, 0])
def test_a_temporary_failure_is_retried_until_it_has_passed(storage: Storage, failure: int) -> None:
    claims, pauses = reader(storage.prefix), []
    storage.answers = [failure, failure]
    assert claims.outlast(lambda: claims.fetch(claim(storage.prefix)), pauses.append) == MEDIA
    assert pauses and pauses == sorted(pauses)


@pytest.mark.parametrize("status", [404, 410])
def test_media_that_are_gone_are_lost_and_not_requested_again(storage: Storage, status: int) -> None:
    claims = reader(storage.prefix)
    storage.answers = [status]
    with pytest.raises(BadChunk) as caught:
        claims.outlast(lambda: claims.fetch(claim(storage.prefix)), pytest.fail)
    assert (caught.value.reason, caught.value.fate) == ("claim_check_gone", "lost")


@pytest.mark.parametrize("status", [401, 403])
def test_storage_that_refuses_access_stops_the_run_at_once(storage: Storage, status: int) -> None:
    claims = reader(storage.prefix)
    storage.answers = [status]
    with pytest.raises(SourceError, match=rf"http:// storage refuses .*{status}") as caught:
        claims.outlast(lambda: claims.fetch(claim(storage.prefix)), pytest.fail)
    assert not isinstance(caught.value, StorageAway)


def test_media_that_differ_from_the_claim_are_not_requested_again(storage: Storage) -> None:
    claims = reader(storage.prefix)
    other = claim(storage.prefix).replace(b'"sha256": "', b'"sha256": "0')[:-3] + b'"}'
    with pytest.raises(BadChunk, match="claim_check_mismatch"):
        claims.outlast(lambda: claims.fetch(other), pytest.fail)


def test_storage_that_stays_unavailable_stops_the_run_in_the_end(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="claim checks over HTTP need aiohttp")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        prefix = f"http://127.0.0.1:{closed.getsockname()[1]}/claims"
    claims, pauses = reader(prefix, retry_s=0.2), []
    with pytest.raises(StorageAway, match=r"http:// storage does not answer as it should \(ClientConnectorError\)"):
        claims.outlast(lambda: claims.fetch(claim(prefix)), lambda s: (pauses.append(s), threading.Event().wait(s)))
    assert pauses and max(pauses) <= 0.2


def test_an_unmounted_allowed_folder_is_unavailable_and_its_media_are_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    claims = reader(str(folder))

    def mount(_: float) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "a.mp4").write_bytes(MEDIA)

    assert claims.outlast(lambda: claims.fetch(claim(folder.as_uri())), mount) == MEDIA
