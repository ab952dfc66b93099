"""The envelope of a chunk: written headers are read back unchanged, and invalid ones are refused with a reason."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfx.config.source import ClaimCheck
from streamfx.errors import BadChunk
from streamfx.records import CLAIM_CHECK_TYPE, Partition, Record
from streamfx.source.chunk import LATEST_START_US, consent_of, headers_for, parse_record
from streamfx.source.claim_check import ClaimCheckReader

NO_CLAIMS = ClaimCheckReader(ClaimCheck())
PARTITION = Partition("cams", "id", 3)
GOOD = {
    "streamfx-stream-id": b"cam",
    "streamfx-seq": b"7",
    "streamfx-start-us": b"1700000000000000",
    "content-type": b"video/mp4",
}

stream_ids = st.text(min_size=1, max_size=64).filter(lambda text: 0 < len(text.encode("utf-8", "ignore")) <= 256)
traceparents = st.from_regex(r"\A00-[1-9a-f][0-9a-f]{31}-[1-9a-f][0-9a-f]{15}-0[01]\Z")


def record(headers: Any = None, key: bytes | None = b"cam", value: bytes = b"media") -> Record:
    pairs = tuple((headers or GOOD).items()) if not isinstance(headers, tuple) else headers
    return Record(PARTITION, 42, 1_700_000_002_000, key, pairs, value)


def refusal(bad: Record, **settings: Any) -> BadChunk:
    with pytest.raises(BadChunk) as caught:
        parse_record(bad, NO_CLAIMS, **settings)
    return caught.value


@given(
    stream_id=stream_ids,
    seq=st.integers(0, 2**63 - 1),
    start_us=st.integers(0, LATEST_START_US - 1),
    end=st.booleans(),
    consent=st.sampled_from([None, "granted", "refused"]),
    traceparent=st.none() | traceparents,
    body=st.binary(min_size=1, max_size=100),
)
def test_what_is_written_is_read_back(
    stream_id: str, seq: int, start_us: int, end: bool, consent: Any, traceparent: str | None, body: bytes
) -> None:
    headers = headers_for(stream_id, seq, start_us, "video/mp2t", end=end, consent=consent, traceparent=traceparent)
    chunk = parse_record(record(headers, stream_id.encode(), body), NO_CLAIMS)
    assert (chunk.stream_id, chunk.seq, chunk.start_us, chunk.content_type) == (stream_id, seq, start_us, "video/mp2t")
    assert (chunk.end, chunk.consent, chunk.traceparent, chunk.body) == (end, consent, traceparent, body)
    assert (chunk.partition, chunk.offset, chunk.timestamp_ms) == (PARTITION, 42, 1_700_000_002_000)


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([*GOOD, "streamfx-consent", "streamfx-end", "traceparent", "x"]), st.binary(max_size=20)
        )
    ),
    key=st.none() | st.binary(max_size=5),
    value=st.binary(max_size=20),
)
def test_any_record_gives_a_chunk_or_a_reason(headers: Any, key: bytes | None, value: bytes) -> None:
    try:
        parse_record(record(tuple(headers), key, value), NO_CLAIMS)
    except BadChunk as bad:
        assert bad.reason.isidentifier()
        assert bad.fate in ("undecodable", "refused", "lost")


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_header_is_named(name: str) -> None:
    bad = refusal(record({other: value for other, value in GOOD.items() if other != name}))
    assert (bad.reason, bad.fate) == ("header_missing", "undecodable")
    assert name in bad.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("streamfx-seq", b"-1"),
        ("streamfx-seq", b"1.0"),
        ("streamfx-seq", b""),
        ("streamfx-seq", "٣".encode()),
        ("streamfx-seq", b"9223372036854775808"),
        ("streamfx-start-us", b"yesterday"),
        ("streamfx-start-us", b"1700000000000000000"),
        ("streamfx-stream-id", b""),
        ("streamfx-stream-id", b"\xff"),
        ("streamfx-stream-id", b"x" * 257),
        ("content-type", b""),
        ("content-type", b"video"),
        ("streamfx-end", b"yes"),
    ],
)
def test_a_wrong_header_is_named_without_its_value(name: str, value: bytes) -> None:
    key = value if name == "streamfx-stream-id" else b"cam"
    bad = refusal(record(GOOD | {name: value}, key))
    assert (bad.reason, bad.fate) == ("header_invalid", "undecodable")
    assert name in bad.detail
    assert "xxx" not in bad.detail


def test_a_duplicate_header_is_refused_and_an_unknown_one_is_ignored() -> None:
    twice = (*GOOD.items(), ("streamfx-seq", b"8"))
    assert refusal(record(twice)).reason == "header_duplicated"
    assert parse_record(record((*GOOD.items(), ("other", b"1"), ("other", b"2"))), NO_CLAIMS).seq == 7


@pytest.mark.parametrize("key", [None, b"", b"another"])
def test_the_key_must_be_the_stream_id(key: bytes | None) -> None:
    assert refusal(record(key=key)).reason == "key_mismatch"


@pytest.mark.parametrize(
    "text",
    [b"", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01", b"\xff"],
)
def test_a_malformed_traceparent_is_ignored(text: bytes) -> None:
    assert parse_record(record(GOOD | {"traceparent": text}), NO_CLAIMS).traceparent is None


def test_an_empty_body_is_accepted_only_as_an_end_mark() -> None:
    assert refusal(record(value=b"")).reason == "body_empty"
    last = parse_record(record(GOOD | {"streamfx-end": b"1"}, value=b""), NO_CLAIMS)
    assert last.end and last.body == b""


def test_a_body_over_the_limit_is_refused() -> None:
    bad = refusal(record(value=b"12345"), max_bytes=4)
    assert (bad.reason, bad.fate) == ("body_too_large", "undecodable")


@pytest.mark.parametrize("value", [b"", b"yes", b"Granted", b"granted "])
def test_an_invalid_consent_header_counts_as_refused(value: bytes) -> None:
    bad = refusal(record(GOOD | {"streamfx-consent": value}))
    assert (bad.reason, bad.fate) == ("consent_invalid", "refused")
    both = (*GOOD.items(), ("streamfx-consent", b"granted"), ("streamfx-consent", b"refused"))
    assert refusal(record(both)).fate == "refused"


def test_a_chunk_without_consent_is_refused_whatever_else_is_wrong_with_it() -> None:
    broken = GOOD | {"streamfx-consent": b"refused", "streamfx-seq": b"x"}
    assert refusal(record(broken)).fate == "refused"
    assert consent_of(record(broken)) == "refused"


def test_a_claim_check_gives_the_media_and_their_type(tmp_path: Path) -> None:
    media = b"\0\0\0\x18ftypisom" + bytes(50)
    (tmp_path / "a.mp4").write_bytes(media)
    claim = {"uri": (tmp_path / "a.mp4").as_uri(), "bytes": len(media), "sha256": hashlib.sha256(media).hexdigest()}
    claims = ClaimCheckReader(ClaimCheck(allowed_prefixes=[str(tmp_path)]))
    headers = GOOD | {"content-type": CLAIM_CHECK_TYPE.encode()}
    chunk = parse_record(record(headers, value=json.dumps(claim).encode()), claims)
    assert (chunk.body, chunk.content_type) == (media, "video/mp4")
    withheld = parse_record(
        record(headers | {"streamfx-consent": b"refused"}, value=json.dumps(claim).encode()), claims
    )
    assert (withheld.body, withheld.consent) == (b"", "refused")
