"""A camera that sends real clips over TCP as MPEG-TS in real time."""

from __future__ import annotations

import io
import itertools
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import av

SLICES_S = 20


def as_mpegts(clip: Path) -> tuple[bytes, float]:
    """A clip's pictures and sound remuxed as MPEG-TS, and its length in seconds."""
    made = io.BytesIO()
    with av.open(str(clip)) as source, av.open(made, "w", format="mpegts") as target:
        tracks = {track.index: target.add_stream_from_template(track) for track in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                target.mux(packet)
        return made.getvalue(), float(source.duration or av.time_base) / av.time_base


class FilmCamera:
    """Sends `clips` in turn to the listener on `port`, one for each call of `show`."""

    def __init__(self, port: int, clips: Sequence[Path]):
        self._films = itertools.cycle([as_mpegts(clip) for clip in clips])
        self._address = ("127.0.0.1", port)
        self._asked = threading.Semaphore(0)
        self._closed = threading.Event()
        threading.Thread(target=self._film, name="camera", daemon=True).start()

    def show(self) -> None:
        """Send one more clip."""
        self._asked.release()

    def close(self) -> None:
        """Stop sending."""
        self._closed.set()
        self._asked.release()

    def _film(self) -> None:
        while self._asked.acquire() and not self._closed.is_set():
            film = next(self._films)
            while not self._sent(*film) and not self._closed.wait(0.1):
                pass

    def _sent(self, body: bytes, length_s: float) -> bool:
        """Send one clip; return whether the listener stayed to the end."""
        size = round(len(body) / (length_s * SLICES_S)) + 1
        try:
            with socket.create_connection(self._address, timeout=10) as viewer:
                began = time.monotonic()
                for i, start in enumerate(range(0, len(body), size)):
                    time.sleep(max(0.0, began + i / SLICES_S - time.monotonic()))
                    viewer.sendall(body[start : start + size])
        except OSError:
            return False
        return True
