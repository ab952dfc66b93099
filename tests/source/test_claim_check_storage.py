"""Storage of claim checks that fails: what may pass is repeated, what is gone is lost, what is refused stops the run."""

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
    """A web server that answers with `answers`, one GET after the other, then with the media."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            server: Storage

            def do_HEAD(self) -> None:
                self._answer(self.server.answers[0] if self.server.answers else 200)

            def do_GET(self) -> None:
                # The driver asks twice: what is there, and for its bytes. A failure is one answer.
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
                """Requests are no news."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []

    @property
    def prefix(self) -> str:
        """What is allowed."""
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
def test_what_may_pass_is_repeated_until_it_has(storage: Storage, failure: int) -> None:
    claims, pauses = reader(storage.prefix), []
    storage.answers = [failure, failure]
    assert claims.outlast(lambda: claims.fetch(claim(storage.prefix)), pauses.append) == MEDIA
    assert pauses and pauses == sorted(pauses)


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_lost_and_not_asked_for_again(storage: Storage, status: int) -> None:
    claims = reader(storage.prefix)
    storage.answers = [status]
    with pytest.raises(BadChunk) as said:
        claims.outlast(lambda: claims.fetch(claim(storage.prefix)), pytest.fail)
    assert (said.value.reason, said.value.fate) == ("claim_check_gone", "lost")


@pytest.mark.parametrize("status", [401, 403])
def test_storage_that_refuses_stops_the_run_at_once(storage: Storage, status: int) -> None:
    claims = reader(storage.prefix)
    storage.answers = [status]
    with pytest.raises(SourceError, match=rf"http:// storage refuses .*{status}") as said:
        claims.outlast(lambda: claims.fetch(claim(storage.prefix)), pytest.fail)
    assert not isinstance(said.value, StorageAway)


def test_media_that_are_not_as_claimed_are_not_asked_for_again(storage: Storage) -> None:
    claims = reader(storage.prefix)
    other = claim(storage.prefix).replace(b'"sha256": "', b'"sha256": "0')[:-3] + b'"}'
    with pytest.raises(BadChunk, match="claim_check_mismatch"):
        claims.outlast(lambda: claims.fetch(other), pytest.fail)


def test_storage_that_stays_away_stops_the_run_in_the_end(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="claim checks over HTTP need aiohttp")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        prefix = f"http://127.0.0.1:{closed.getsockname()[1]}/claims"
    claims, pauses = reader(prefix, retry_s=0.2), []
    with pytest.raises(StorageAway, match=r"http:// storage does not answer as it should \(ClientConnectorError\)"):
        claims.outlast(lambda: claims.fetch(claim(prefix)), lambda s: (pauses.append(s), threading.Event().wait(s)))
    assert pauses and max(pauses) <= 0.2


def test_an_allowed_folder_that_is_not_mounted_is_away_and_its_media_are_not_gone(tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    claims = reader(str(folder))

    def mount(_: float) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "a.mp4").write_bytes(MEDIA)

    assert claims.outlast(lambda: claims.fetch(claim(folder.as_uri())), mount) == MEDIA
