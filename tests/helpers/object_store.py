"""A real S3 server (moto) behind a proxy that throttles, resets, loses replies, and may ignore conditions."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BUCKET = "data"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
FAULTS = ("503", "409", "reset", "lost", "hang")
"""Throttling; a conflict with another put; a reset before arrival; a put that succeeds without a reply; a hang."""


@dataclass
class Proxy:
    """Decides the fate of requests: `fault` is called for each in order and returns one of FAULTS, a status or None."""

    upstream: int
    fault: Callable[[str, str], str | None] = lambda method, path: None
    conditional: bool = True
    hang_s: float = 1.5
    requests: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calm(self) -> None:
        """Stop all faults."""
        self.fault = lambda method, path: None

    def strike_once(self, kind: str, method: str, part: str) -> None:
        """Make the next such request fail."""
        left = [kind]

        def fault(came: str, path: str) -> str | None:
            return left.pop() if left and came == method and part in path else None

        self.fault = fault

    def strike_often(self, seed: int, rate: float) -> None:
        """Make requests fail at random; only puts get conflicts."""
        rng = random.Random(seed)

        def fault(method: str, path: str) -> str | None:
            kind = rng.choice(FAULTS[:-1]) if rng.random() < rate else None
            return "503" if kind == "409" and method != "PUT" else kind

        self.fault = fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.proxy.requests.append((self.command, self.path))
        kind = self.proxy.fault(self.command, self.path)
        if kind == "reset":
            self.close_connection = True
            return
        if kind is not None and kind.isdigit():
            self._answer(int(kind), [], b"<Error><Code>SlowDown</Code></Error>")
            return
        status, headers, answer = self._forward(body)
        if kind in ("lost", "hang"):
            if kind == "hang":
                time.sleep(self.proxy.hang_s)
            self.close_connection = True
            return
        self._answer(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection",)}
        if not self.proxy.conditional:
            headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=30)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        skipped = ("transfer-encoding", "connection", "content-length")
        for name, value in headers:
            if name.lower() not in skipped:
                self.send_header(name, value)
        # The answer to HEAD states the length of the object.
        length = dict((name.lower(), value) for name, value in headers).get("content-length", "0")
        self.send_header("content-length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def proxy_before(upstream: int) -> Iterator[Proxy]:
    """A proxy on a port of its own for the duration of the context."""
    proxy = Proxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    proxy.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def object_store() -> Iterator[int]:
    """The port of an S3 server with one bucket; the test is skipped where moto is not installed."""
    moto_server = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{BUCKET}")
    assert connection.getresponse().status == 200
    try:
        yield port
    finally:
        server.stop()
