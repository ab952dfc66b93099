"""Reads structs of Thrift's compact protocol, in which Parquet writes its headers, with all bounds checked.

The format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Only what Parquet uses
and fastparquet understands in the same way is read; everything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

_DEPTH = 10
"""How deep structs may lie in each other; in a footer it is 6."""
_FIELDS = 127
"""fastparquet counts fields in a signed byte."""
_T = TypeVar("_T")


class UnreadableParquet(ValueError):
    """The bytes are no Parquet file that can be read; the message says what is wrong with them."""


class Cursor:
    """Reads bytes in order, and none past the end."""

    def __init__(self, data: bytes, at: int, end: int):
        if not 0 <= at <= end <= len(data):
            raise UnreadableParquet("an offset lies outside of the file")
        self.data, self.at, self.end = data, at, end

    def take(self, size: int) -> bytes:
        """The next bytes. This and the other methods raise UnreadableParquet if there are not enough."""
        if not 0 <= size <= self.end - self.at:
            raise UnreadableParquet(f"{size} bytes announced, {self.end - self.at} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        """The next byte."""
        if self.at >= self.end:
            raise UnreadableParquet("a header breaks off")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        """A whole number without a sign, 7 bits in a byte."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise UnreadableParquet("a number of over 10 bytes")

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Field number -> value. fastparquet does not know the long form of field numbers, which Parquet never needs."""
        if depth > _DEPTH:
            raise UnreadableParquet("a header is nested too deep")
        found: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number += head >> 4
            if head < 16 or number > _FIELDS:
                raise UnreadableParquet("a header with a field out of order")
            found[number] = self._value(head & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            number = self.varint()
            if number >= 2**64:
                raise UnreadableParquet("a number of over 64 bits")
            return (number >> 1) ^ -(number & 1)
        if kind == 8:
            return self.take(self.varint())
        if kind == 9:
            return self._list(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise UnreadableParquet(f"a header with a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self.byte()
        size, kind = head >> 4, head & 15
        if size == 15:
            size = self.varint()
        if size > self.end - self.at or (size and kind not in (5, 6, 8, 12)):  # others are structs for fastparquet
            raise UnreadableParquet(f"a list of {size} elements of type {kind}")
        return [self._value(kind, depth) for _ in range(size)]


def get(found: Mapping[int, Any], number: int, kind: type[_T]) -> _T:
    """A field that must be there. Raises UnreadableParquet if it is not, or not of this type."""
    value = found.get(number)
    if type(value) is not kind:
        raise UnreadableParquet(f"a header without its field {number}, or with another type in it")
    return value
