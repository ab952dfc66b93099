"""The envelope of a chunk: writes its headers, and reads them with every value checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from streamfx.errors import BadChunk
from streamfx.records import CLAIM_CHECK_TYPE, Chunk, Record
from streamfx.source.claim_check import ClaimCheckReader, media_type

STREAM_ID = "streamfx-stream-id"
SEQ = "streamfx-seq"
START_US = "streamfx-start-us"
CONTENT_TYPE = "content-type"
CONSENT = "streamfx-consent"
TRACEPARENT = "traceparent"
END = "streamfx-end"

Consent = Literal["granted", "refused"]
Headers = tuple[tuple[str, bytes], ...]

MAX_STREAM_ID_BYTES = 256
LATEST_START_US = 7_258_118_400_000_000
"""2200-01-01T00:00:00Z. A later start means that the wrong unit was used."""

_KNOWN = frozenset((STREAM_ID, SEQ, START_US, CONTENT_TYPE, CONSENT, TRACEPARENT, END))
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_MEDIA_TYPE = re.compile(rb"[!-~]{1,127}/[ -~]{1,127}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def headers_for(
    stream_id: str,
    seq: int,
    start_us: int,
    content_type: str,
    *,
    end: bool = False,
    consent: Consent | None = None,
    traceparent: str | None = None,
) -> Headers:
    """The headers of one chunk, in a fixed order. `start_us` is the time of its first frame in UTC microseconds."""
    headers = [
        (STREAM_ID, stream_id.encode()),
        (SEQ, str(seq).encode()),
        (START_US, str(start_us).encode()),
        (CONTENT_TYPE, content_type.encode()),
    ]
    if consent is not None:
        headers.append((CONSENT, consent.encode()))
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent.encode()))
    if end:
        headers.append((END, b"1"))
    return tuple(headers)


def parse_record(record: Record, claims: ClaimCheckReader, max_bytes: int | None = None) -> Chunk:
    """The chunk in a record. If it is a claim check, its media are fetched.

    An empty body is accepted only on a stream's last chunk, where it is an end mark without media. The media of a
    chunk whose consent is `refused` are never fetched, so the body of such a claim check is empty.

    Raises BadChunk with one of these reasons: `header_missing`, `header_duplicated`, `header_invalid`,
    `consent_invalid`, `key_mismatch`, `body_empty`, `body_too_large` (over `max_bytes`), `claim_check_invalid`,
    `claim_check_forbidden`, `claim_check_too_large`, `claim_check_gone`, `claim_check_mismatch`. Its fate is `refused`
    if consent was refused or the consent header is invalid, `lost` if the media are gone, else `undecodable`. Raises
    StorageAway if the storage of claim checks fails temporarily, so that the chunk must be tried again, and
    SourceError if it refuses access.
    """
    consent = consent_of(record)
    try:
        return _parse(record, claims, consent, max_bytes)
    except BadChunk as bad:
        if consent != "refused":
            raise
        raise BadChunk("consent_refused", f"consent was refused (and {bad.reason})", fate="refused") from None


def consent_of(record: Record) -> Consent | None:
    """The value of the consent header, None if absent. Raises BadChunk of fate `refused` for an invalid value."""
    values = [value for name, value in record.headers if name == CONSENT]
    if not values:
        return None
    if values == [b"granted"]:
        return "granted"
    if values == [b"refused"]:
        return "refused"
    raise BadChunk("consent_invalid", f"expected header {CONSENT} once, `granted` or `refused`", fate="refused")


def _parse(record: Record, claims: ClaimCheckReader, consent: Consent | None, max_bytes: int | None) -> Chunk:
    known = _known_headers(record.headers)
    stream_id = _stream_id(known)
    if record.key != known[STREAM_ID]:
        raise BadChunk("key_mismatch", f"the message key must equal the header {STREAM_ID}")
    seq = _number(known, SEQ)
    start_us = _number(known, START_US)
    if start_us >= LATEST_START_US:
        raise BadChunk(
            "header_invalid", f"header {START_US} must be UTC microseconds before the year 2200, got {start_us}"
        )
    content_type = _content_type(known)
    end = _end(known)
    if not record.value and not end and record.fault is None:
        raise BadChunk("body_empty", "the body is empty, and this is not a stream's last chunk")
    if max_bytes is not None and len(record.value) > max_bytes:
        raise BadChunk("body_too_large", f"the body has {len(record.value)} bytes, at most {max_bytes} are allowed")
    body = record.value
    if content_type == CLAIM_CHECK_TYPE and record.fault is None:
        body = b"" if consent == "refused" else claims.fetch(record.value)
        content_type = media_type(body)
    return Chunk(
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        stream_id=stream_id,
        seq=seq,
        start_us=start_us,
        content_type=content_type,
        consent=consent,
        traceparent=_traceparent(record.headers),
        end=end,
        body=body,
    )


def _known_headers(headers: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    known: dict[str, bytes] = {}
    for name, value in headers:
        if name not in _KNOWN:
            continue
        if name in known and name != TRACEPARENT:
            raise BadChunk("header_duplicated", f"header {name} must occur once, and it occurs more often")
        known[name] = value
    _require(known, (STREAM_ID, SEQ, START_US, CONTENT_TYPE))
    return known


def _require(known: dict[str, bytes], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise BadChunk("header_missing", f"missing header: {', '.join(missing)}")


def _stream_id(known: dict[str, bytes]) -> str:
    raw = known[STREAM_ID]
    if not 0 < len(raw) <= MAX_STREAM_ID_BYTES:
        raise BadChunk(
            "header_invalid", f"header {STREAM_ID} must have 1 to {MAX_STREAM_ID_BYTES} bytes, got {len(raw)}"
        )
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadChunk("header_invalid", f"header {STREAM_ID} must be UTF-8") from None


def _number(known: dict[str, bytes], name: str) -> int:
    if not _DECIMAL.fullmatch(known[name]):
        raise BadChunk("header_invalid", f"header {name} must be a non-negative integer in ASCII digits")
    number = int(known[name])
    if number >= 2**63:
        raise BadChunk("header_invalid", f"header {name} must be below 2^63")
    return number


def _content_type(known: dict[str, bytes]) -> str:
    if not _MEDIA_TYPE.fullmatch(known[CONTENT_TYPE]):
        raise BadChunk("header_invalid", f"header {CONTENT_TYPE} must be a media type such as video/mp4")
    return known[CONTENT_TYPE].decode("ascii")


def _end(known: dict[str, bytes]) -> bool:
    value = known.get(END)
    if value not in (None, b"0", b"1"):
        raise BadChunk("header_invalid", f"header {END} must be 1 on the last chunk, else absent")
    return value == b"1"


def _traceparent(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """The trace context. As W3C requires, a header that is malformed or occurs more than once is ignored."""
    values = [value.decode("ascii", "replace") for name, value in headers if name == TRACEPARENT]
    return values[0] if len(values) == 1 and _TRACEPARENT.fullmatch(values[0]) else None
