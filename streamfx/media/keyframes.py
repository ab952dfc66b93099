"""Tells whether decoding can really start at a packet that the container marks as a keyframe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_SLICE, _IDR = 1, 5


def is_random_access(packet: Any, video: Any) -> bool:
    """Whether decoding can start at this keyframe packet.

    It cannot at an H.264 packet that is neither an IDR picture nor made of an intra slice. Such a packet starts a
    gradual refresh (a recovery point), after which pictures are complete only some frames later. For all other codecs
    FFmpeg's keyframe flag is right.
    """
    if video.codec_context.codec.canonical_name != "h264":
        return True
    for unit in _nal_units(bytes(packet), video.codec_context.extradata or b""):
        kind = unit[0] & 0x1F if unit else 0
        if kind == _IDR:
            return True
        if kind == _SLICE:
            return _slice_type(unit) % 5 in (2, 4)
    return False


def _nal_units(data: bytes, extradata: bytes) -> Iterator[bytes]:
    """The first bytes of each NAL unit: after length prefixes if the extradata is an avcC box, else start codes."""
    if extradata[:1] == b"\x01":
        prefix, at = (extradata[4] & 3) + 1, 0
        while at + prefix < len(data):
            size = int.from_bytes(data[at : at + prefix], "big")
            yield data[at + prefix : at + prefix + min(size, 16)]
            at += prefix + size
    else:
        at = data.find(b"\0\0\1")
        while at >= 0:
            yield data[at + 3 : at + 19]
            at = data.find(b"\0\0\1", at + 3)


def _slice_type(unit: bytes) -> int:
    """The slice type, which is the second Exp-Golomb number of a slice header."""
    bits = "".join(f"{byte:08b}" for byte in unit[1:])
    at = 0
    number = 0
    for _ in range(2):
        zeros = bits.find("1", at) - at
        if zeros < 0:
            return 0
        number = int(bits[at + zeros : at + 2 * zeros + 1] or "1", 2) - 1
        at += 2 * zeros + 1
    return number
