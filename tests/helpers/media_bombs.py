"""Hostile chunks: few bytes that cause much memory use, much time or both. Each is built from scratch."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def picture_packet(video: Any) -> bytes:
    """The packet of one black picture, which decodes by itself, from an output's video stream."""
    frame = av.VideoFrame(video.width, video.height, video.pix_fmt)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return bytes([*video.encode(frame), *video.encode(None)][0])


def repeated(codec: str, width: int, height: int, count: int, fps: int, pix_fmt: str = "yuv420p") -> bytes:
    """One picture's packet stored `count` times, `fps` a second: very few bytes, but every picture must be decoded."""
    body = io.BytesIO()
    with av.open(body, "w", format="mov") as out:
        video = out.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        data = picture_packet(video)
        for number in range(count):
            packet = av.Packet(data)
            packet.stream, packet.time_base = video, Fraction(1, fps)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            out.mux(packet)
    return body.getvalue()


def one_jpeg() -> bytes:
    """A black picture of 64 x 48 pixels."""
    with av.open(io.BytesIO(), "w", format="avi") as out:
        video = out.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p"
        return picture_packet(video)


def overlapping_samples(count: int, size: int) -> bytes:
    """An MP4 whose sample table says that each of `count` pictures is the same `size` bytes of the file."""
    whole = repeated("libx264", 64, 48, count, 100)
    at = whole.index(b"mdat") + 4
    tables = {
        b"stsz": struct.pack(">III", 0, size, count),
        b"stsc": struct.pack(">IIIII", 0, 1, 1, 1, 1),
        b"stco": struct.pack(f">II{count}I", 0, count, *([at] * count)),
    }
    # mdat comes before moov, so that offsets stay the same when the tables grow.
    rebuilt = b"".join(_rebuilt(name, payload, tables) for name, payload in _boxes(whole))
    mdat = rebuilt.index(b"mdat") - 4
    length = int.from_bytes(rebuilt[mdat : mdat + 4], "big")
    padding = bytes(max(0, size - length))
    longer = (length + len(padding)).to_bytes(4, "big")
    return rebuilt[:mdat] + longer + rebuilt[mdat + 4 : mdat + length] + padding + rebuilt[mdat + length :]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def _rebuilt(name: bytes, payload: bytes, tables: Mapping[bytes, bytes]) -> bytes:
    if name in PARENTS:
        payload = b"".join(_rebuilt(child, inner, tables) for child, inner in _boxes(payload))
    payload = tables.get(name, payload)
    return (len(payload) + 8).to_bytes(4, "big") + name + payload


def element(name: int, payload: bytes | int | float | str) -> bytes:
    """One EBML element: numbers as 8 bytes, floats as doubles."""
    if isinstance(payload, int):
        payload = payload.to_bytes(8, "big")
    elif isinstance(payload, float):
        payload = struct.pack(">d", payload)
    elif isinstance(payload, str):
        payload = payload.encode()
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (len(payload) | 1 << 56).to_bytes(8, "big") + payload


def matroska(tracks: bytes, blocks: list[tuple[int, int, bytes]]) -> bytes:
    """A Matroska file of these tracks; blocks are (track, time in ms, payload), each in a cluster of its own."""
    head = element(0x1A45DFA3, element(0x4282, "matroska"))
    info = element(0x1549A966, element(0x2AD7B1, 1_000_000))
    clusters = b"".join(
        element(0x1F43B675, element(0xE7, time) + element(0xA3, bytes([0x80 | track, 0, 0, 0x80]) + payload))
        for track, time, payload in blocks
    )
    return head + element(0x18538067, info + element(0x1654AE6B, tracks) + clusters)


def _video_track(encoding: bytes = b"") -> bytes:
    size = element(0xB0, 64) + element(0xBA, 48)
    return element(
        0xAE,
        element(0xD7, 1)
        + element(0x73C5, 1)
        + element(0x83, 1)
        + element(0x86, "V_MJPEG")
        + element(0xE0, size)
        + encoding,
    )


def inflated_blocks(count: int, size: int) -> bytes:
    """A Matroska file whose pictures are deflated, and `size` bytes each once they are inflated."""
    data = one_jpeg()
    compression = element(
        0x6D80, element(0x6240, element(0x5031, 0) + element(0x5032, 1) + element(0x5034, element(0x4254, 0)))
    )
    payload = zlib.compress(data + bytes(size - len(data)), 9)
    return matroska(_video_track(compression), [(1, 10 * number, payload) for number in range(count)])


def sound_of_rate(rate: float, gap_ms: int, block: int = 4096) -> bytes:
    """Pictures with PCM sound that claims `rate` samples a second, in two blocks `gap_ms` apart."""
    data = one_jpeg()
    sound = element(0x9F, 1) + element(0xB5, rate) + element(0x6264, 16)
    track = element(
        0xAE,
        element(0xD7, 2)
        + element(0x73C5, 2)
        + element(0x83, 2)
        + element(0x86, "A_PCM/INT/LIT")
        + element(0xE1, sound),
    )
    noise = np.random.default_rng(1).bytes(block)
    blocks = [(1, 100 * number, data) for number in range(gap_ms // 100)]
    blocks = [(2, 0, noise), *blocks, (2, gap_ms, noise)]
    return matroska(_video_track() + track, blocks)


def far_apart(gap_ms: int) -> bytes:
    """Three pictures, each `gap_ms` after the one before."""
    data = one_jpeg()
    return matroska(_video_track(), [(1, gap_ms * number, data) for number in range(3)])


BOMBS: Mapping[str, Callable[[], bytes]] = {
    "huge_picture": lambda: repeated("libx264", 4096, 2304, 2, 25),
    "slow_codec": lambda: repeated("jpeg2000", 1920, 1080, 600, 60),
    "most_pictures_allowed_of_4k": lambda: repeated("libx264", 3840, 2160, 2_000, 240),
    "most_pictures_allowed_of_any": lambda: repeated("libx264", 64, 48, 28_000, 240),
    "overlapping_samples": lambda: overlapping_samples(4_000, 1 << 20),
    "inflated_blocks": lambda: inflated_blocks(400, 9_000_000),
    "sound_of_two_billion_hz": lambda: sound_of_rate(2e9, 60_000),
    "sound_of_fifty_million_hz": lambda: sound_of_rate(5e7, 60_000),
    "sound_of_forty_hz": lambda: sound_of_rate(40.0, 4_000),
    "sound_of_one_hz": lambda: sound_of_rate(1.0, 4_000),
    "days_between_pictures": lambda: far_apart(86_400_000),
    "ages_between_pictures": lambda: far_apart(2**50),
}
"""Each bomb's name and how to make it. The two of the most pictures allowed are right, and cost what a chunk can
cost."""
