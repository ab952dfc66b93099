"""What an orchestrator's probes ask: `/healthz` fails on a stuck poll loop, `/readyz` until a model has answered.

`python3 -m streamfx.runtime.health URL …` waits until each URL answers 200, for a test of an installation.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from streamfx.runtime.status import Status

log = logging.getLogger(__name__)

SILENT_S = 30.0
"""Seconds without a sign of life, beside the time a drain may take, after which something is stuck."""
WAIT_S = 300.0
ASK_S = 2.0


class Health:
    """The state of one run: its watch loop notes it each second, and probes ask for it from other threads."""

    def __init__(self, drain_s: float):
        # A poll loop that gives partitions back waits for their lines as long as a drain may take.
        self._stuck_s = SILENT_S + drain_s
        self._noted: float | None = None
        self._statuses: Sequence[Status] = ()

    def note(self, statuses: Sequence[Status]) -> None:
        """Take the statuses of the workers as they are now."""
        self._statuses = list(statuses)
        self._noted = time.monotonic()

    def sick(self) -> str | None:
        """Why a restart would help, or None. A run that is still starting is not sick: its steps have deadlines of
        their own."""
        if self._noted is None:
            return None
        silent_s = time.monotonic() - self._noted
        if silent_s > self._stuck_s:
            return f"the watch loop has not run for {silent_s:.0f} s"
        for status in self._statuses:
            if status.poll_age_s is not None and status.poll_age_s > self._stuck_s:
                return f"worker {status.index} has not polled for {status.poll_age_s:.0f} s"
        return None

    def unready(self) -> str | None:
        """Why no rows can come yet, or None."""
        return None if any(status.ready for status in self._statuses) else "no worker has heard from its model yet"


@contextmanager
def health_server(health: Health, port: int) -> Iterator[None]:
    """Answer probes on `port` (0: none) while the body runs."""
    if not port:
        yield
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            questions = {"/healthz": health.sick, "/readyz": health.unready}
            question = questions.get(self.path)
            problem = question() if question else "expected /healthz or /readyz"
            self.send_response(404 if question is None else 503 if problem else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"{problem or 'ok'}\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            """Probes are no news."""

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        # Rows matter more than probes, and a missing answer is what a probe acts on.
        log.error("no health on port %d (runtime.health_port): %s", port, error.strerror or error)
        yield
        return
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wait_ready(urls: Sequence[str], wait_s: float) -> str | None:
    """Ask each URL until it answers 200; what the first that did not within `wait_s` said last, or None."""
    deadline = time.monotonic() + wait_s
    for url in urls:
        while (problem := _ask(url)) is not None:
            if time.monotonic() + ASK_S > deadline:
                return f"{url}: {problem}"
            time.sleep(ASK_S)
    return None


def _ask(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=ASK_S):
            return None
    except urllib.error.HTTPError as error:
        return error.read(200).decode(errors="replace").strip() or str(error)
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(wait_ready(sys.argv[1:], WAIT_S))
