"""Reads records whose header names are not UTF-8.

Clients in other languages can send such a record, but kafka-python treats it as corrupt and reads no further. It
offers no public hook for decoding names, so this module uses its internals; its version is pinned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch


class ForgivingConsumer(KafkaConsumer):  # type: ignore[misc]
    """A consumer that replaces invalid UTF-8 in header names by U+FFFD."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self._fetcher.PartitionRecords = PartitionRecords


class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of a fetch, read as kafka-python does, but from batches that accept such names."""

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
        return super()._unpack_records(tp, _Batches(records), *deserializers)  # type: ignore[no-any-return]


class _Batches:
    """The batches of a fetch. Each is changed in place to accept such names, because a copy would cost megabytes."""

    def __init__(self, records: Any):
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if type(batch) is DefaultRecordBatch:  # older formats have no headers
            batch.__class__ = _Batch
        return batch


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch that switches to a tolerant buffer at the first name that is not UTF-8; until then it costs nothing."""

    __slots__ = ()

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            # The position in the batch moves only after a complete record, so this one is read from its beginning.
            self._buffer = _Buffer(self._buffer)  # type: ignore[misc, has-type]
            return super()._read_msg()


class _Buffer(bytearray):
    """Bytes whose slices decode without errors, whatever they contain."""

    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        part = super().__getitem__(place)
        return _Buffer(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "replace")
