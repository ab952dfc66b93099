"""A header name that is not UTF-8 loses no record, neither its own nor another one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from helpers.kafka import BytesName
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder

from streamfx.source.kafka_headers import PartitionRecords

Headers = Sequence[tuple[str, bytes | None]]
NONE, GZIP = 0, 1
GOOD: Headers = [("streamfx-seq", b"0"), ("näme", b"1")]
BAD: Headers = [("before", b"0"), (BytesName(b"na\xffme"), b"\xff"), (BytesName(b"\x80"), None), ("after", b"1")]
READ = [("before", b"0"), ("na\ufffdme", b"\xff"), ("\ufffd", None), ("after", b"1")]


def batch(records: Sequence[tuple[bytes, Headers]], codec: int = NONE) -> bytearray:
    """A batch as a broker returns it, with a valid checksum."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 30)
    for value, headers in records:
        builder.append(1_700_000_000_000, b"cam", value, headers)
    builder.close()
    return bytearray(builder.buffer())


def read(*batches: bytearray, at: int = 0) -> list[tuple[int, bytes, bytes, list[tuple[str, bytes | None]]]]:
    """The records that a consumer reads from fetched batches."""
    records = PartitionRecords(at, TopicPartition("topic", 0), MemoryRecords(bytearray().join(batches)))
    return [(record.offset, record.key, record.value, record.headers) for record in records.take()]


@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_a_record_whose_header_name_is_not_utf_8_is_read_like_the_others(codec: int) -> None:
    big = os.urandom(3 << 20)
    values = [b"first", big, b"", big, b"last"]
    records = [(value, BAD if number in (1, 3) else GOOD) for number, value in enumerate(values)]
    wanted = [(n, b"cam", value, READ if n in (1, 3) else list(GOOD)) for n, value in enumerate(values)]
    assert read(batch(records, codec)) == wanted
    assert read(batch(records, codec), at=3) == wanted[3:]


def test_a_value_with_the_same_bytes_as_the_bad_name_is_unchanged() -> None:
    record = b"\x0cna\xffme\x02\xff", [("x", b"na\xffme"), *BAD]
    assert read(batch([record])) == [(0, b"cam", record[0], [("x", b"na\xffme"), *READ])]


def test_the_next_batch_is_also_read() -> None:
    assert [value for _, _, value, _ in read(batch([(b"one", BAD)]), batch([(b"two", GOOD)]))] == [b"one", b"two"]


def test_a_corrupt_batch_is_still_refused() -> None:
    flipped = batch([(b"body", BAD)])
    flipped[-1] ^= 1
    with pytest.raises(kafka_errors.CorruptRecordError, match="crc"):
        read(flipped)
