"""The temporal layers of HEVC pictures, read from the headers of their slices.

A picture that says that nothing is made from it speaks of its own layer only; pictures of a higher one may need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_SLICES = range(32)
"""Types of units that hold a slice of a picture."""


def has_one_layer(extradata: bytes | None, packets: Iterable[Any]) -> bool:
    """Whether all pictures are known to be of one temporal layer. `extradata` are the track's headers, which say how the
    units in a packet are parted."""
    length_bytes = (extradata[21] & 3) + 1 if extradata and extradata[0] == 1 and len(extradata) > 21 else None
    layers = {_layer(bytes(packet), length_bytes) for packet in packets}
    return len(layers) == 1 and None not in layers


def _layer(data: bytes, length_bytes: int | None) -> int | None:
    """The layer of the first slice, None where there is no slice."""
    for at in _starts(data, length_bytes):
        if at + 1 < len(data) and data[at] >> 1 & 63 in _SLICES:
            return data[at + 1] & 7
    return None


def _starts(data: bytes, length_bytes: int | None) -> Iterator[int]:
    """Where the units begin: after their lengths, or after start codes."""
    if length_bytes is None:
        at = data.find(b"\0\0\1")
        while at >= 0:
            yield at + 3
            at = data.find(b"\0\0\1", at + 3)
        return
    at = length_bytes
    while at < len(data):
        yield at
        at += int.from_bytes(data[at - length_bytes : at]) + length_bytes
