"""Cameras for tests: a process that films in real time, and sends MPEG-TS or answers as an RTSP server.

Run as a program: `camera.py URL SHADE SECONDS`. Each picture is one flat shade that counts up, so that a decoded
picture shows its number; the sound is a sine.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np

FPS = 20
SIDE = 64
RATE = 16_000


@contextmanager
def filming(url: str, shade: int = 0, seconds: float = 3600) -> Iterator[subprocess.Popen[bytes]]:
    """A camera process, which is ended on exit."""
    process = subprocess.Popen([sys.executable, str(Path(__file__)), url, str(shade), str(seconds)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def picture(number: int, shade: int) -> av.VideoFrame:
    """Picture `number`: a grey of 16 + 4 * ((number + shade) mod 50)."""
    value = 16 + 4 * ((number + shade) % 50)
    planes = np.full((SIDE * 3 // 2, SIDE), 128, np.uint8)
    planes[:SIDE] = value
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def encoder(container: av.container.OutputContainer) -> av.VideoStream:
    """H.264 with a keyframe each half second."""
    options = {"g": str(FPS // 2), "bf": "0", "preset": "ultrafast", "tune": "zerolatency", "crf": "8", "threads": "1"}
    stream = container.add_stream("libx264", rate=FPS, options=options)
    stream.width = stream.height = SIDE
    stream.pix_fmt = "yuv420p"
    return stream


def send_mpegts(url: str, shade: int, seconds: float) -> None:
    """Send MPEG-TS with sound to a listener, or to whoever connects (`?listen=1`)."""
    with av.open(url, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        video = encoder(container)
        sound = container.add_stream("mp2", rate=RATE, layout="mono")
        wave = (8000 * np.sin(np.arange(RATE // FPS) * 0.2)).astype(np.int16)[None]
        for number in paced(seconds):
            container.mux(video.encode(picture(number, shade)))
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, number * wave.shape[1]
            container.mux(sound.encode(frame))


def paced(seconds: float) -> Iterator[int]:
    """Picture numbers, each at its time."""
    began = time.monotonic()
    for number in range(round(seconds * FPS)):
        time.sleep(max(0.0, began + number / FPS - time.monotonic()))
        yield number


def serve_rtsp(url: str, shade: int, seconds: float) -> None:
    """Serve one RTSP viewer after another: H.264 in RTP, interleaved with the replies on one TCP connection."""
    address = urlsplit(url)
    with socket.create_server(("127.0.0.1", address.port or 554)) as server:
        while True:
            viewer, _ = server.accept()
            with viewer:
                try:
                    if answer_until_play(viewer, url):
                        play(viewer, shade, seconds)
                except OSError:
                    continue


def answer_until_play(viewer: socket.socket, url: str) -> bool:
    """Answer the viewer's requests; True once it requests PLAY."""
    description = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    description += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
    extra = {
        "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n",
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\nContent-Length: {len(description)}\r\n",
        "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        "PLAY": "Session: 1\r\n",
    }
    lines = viewer.makefile("rb")
    while request := lines.readline().decode():
        method, sequence = request.split()[0], "0"
        while header := lines.readline().decode().strip():
            name, _, value = header.partition(":")
            sequence = value.strip() if name.lower() == "cseq" else sequence
        body = description if method == "DESCRIBE" else ""
        viewer.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{extra.get(method, '')}\r\n{body}".encode())
        if method == "PLAY":
            return True
    return False


def play(viewer: socket.socket, shade: int, seconds: float) -> None:
    """Send pictures until the viewer disconnects."""
    counter = 0
    with av.open("/dev/null", "w", format="h264") as scratch:
        video = encoder(scratch)
        for number in paced(seconds):
            for packet in video.encode(picture(number, shade)):
                units = [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1") if unit.rstrip(b"\0")]
                for unit in units:
                    mark = 0x80 if unit is units[-1] else 0
                    head = struct.pack(">BBHII", 0x80, mark | 96, counter & 0xFFFF, number * 90_000 // FPS, 7)
                    viewer.sendall(b"$\0" + struct.pack(">H", len(head) + len(unit)) + head + unit)
                    counter += 1


if __name__ == "__main__":
    target, first_shade, length_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    (serve_rtsp if target.startswith("rtsp") else send_mpegts)(target, first_shade, length_s)
