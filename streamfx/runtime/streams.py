"""What a partition knows of each of its streams: what it has seen, and how to distinguish a duplicate from a late
chunk.

A stream goes by three clocks, since each answers a question that the other two cannot:

- *Event time* (`watermark_us`) is the time in the media. The line advances it by each segment that it decodes, up to
  the segment's end, never back. Windows close by it, and a chunk that begins before it is a duplicate or late. It
  belongs to one stream: cameras and recordings may be years apart. It stands still when a stream falls silent, so it
  cannot end one.
- *Sequence numbers* (`last_seq`) are counted by the producer. The book follows each chunk that is new, whether or not
  it can be decoded. They alone show how many chunks are missing, and whether a chunk that event time has passed was
  seen before (a duplicate) or was skipped (late). They cannot judge on their own: a producer that restarts counts
  from 0 again.
- *Append time* (`last_append_ms`) is stamped by the broker, and is one clock for all streams of a partition. So
  another stream's record can show that this one has fallen silent: it ends once the partition's append time has
  passed its last chunk by `windows.idle_s`. It says nothing of when something was filmed. Producers' own stamps would
  not do, and where the broker does not stamp on append no stream ends by it.

All three come with the records, so a second reading decides as the first did. The wall clock decides nothing about a
stream.

Streams are known by raw id only in memory. A snapshot knows them by their pseudonym in the salt period of their
watermark; after a restart a stream is recognised when a chunk of it is read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from streamfx.errors import BadChunk
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import Chunk, Snapshot

REMEMBERED_MISSING = 64
"""Skipped sequence numbers remembered for each stream, so that one that comes later is known to be late."""
REMEMBERED_ENDED = 512
"""Ended streams remembered for each partition, so that a stream sent twice is known to be a duplicate."""


@dataclass(slots=True)
class StreamState:
    """One stream by its three clocks: the last sequence number, the event time up to which it was seen (UTC
    microseconds), and the append time of its last chunk (UTC milliseconds); and the sequence numbers that were
    skipped."""

    last_seq: int = -1
    watermark_us: int = 0
    last_append_ms: int = 0
    missing: list[int] = field(default_factory=list)

    def advance(self, end_us: int) -> None:
        """The stream was seen up to `end_us`; event time never goes back."""
        self.watermark_us = max(self.watermark_us, end_us)


class StreamBook:
    """All streams of one partition: live, ended lately, and those of a snapshot that no chunk has named yet."""

    def __init__(self, pseudonyms: Pseudonyms):
        self._pseudonyms = pseudonyms
        self.live: dict[str, StreamState] = {}
        self._ended: dict[tuple[int, str], StreamState] = {}
        self._unnamed: dict[tuple[int, str], tuple[StreamState, Snapshot]] = {}

    def judge(self, chunk: Chunk) -> int:
        """Raise BadChunk for a duplicate (`duplicate`) or a late chunk (`lost`); else return how many numbers it skips.

        Time decides: a known sequence number whose start lies before the stream's watermark was seen already, or was
        skipped and comes too late; one at or after the watermark is a producer that began to count anew. A stream that
        was ended and goes on has skipped what lies between: a live publisher marks a gap by ending the stream.
        """
        state = self.live.get(chunk.stream_id)
        known = state or self._ended.get(self._find(chunk.stream_id, self._ended) or (0, ""))
        if known is None:
            return 0
        if chunk.start_us < known.watermark_us and (chunk.seq <= known.last_seq or state is None):
            if chunk.seq in known.missing or chunk.seq > known.last_seq:
                raise BadChunk("late", "the stream's event time has passed this chunk", fate="lost")
            raise BadChunk("duplicate", "this sequence number was processed before", fate="duplicate")
        return max(0, chunk.seq - known.last_seq - 1)

    def saw(self, chunk: Chunk) -> StreamState:
        """Note a chunk that was judged new, whether or not it can be decoded."""
        state = self.live.setdefault(chunk.stream_id, StreamState())
        if chunk.seq > state.last_seq >= 0:
            skipped = range(max(state.last_seq + 1, chunk.seq - REMEMBERED_MISSING), chunk.seq)
            state.missing = [*state.missing, *skipped][-REMEMBERED_MISSING:]
        elif chunk.seq <= state.last_seq:
            state.missing = []
        state.last_seq = chunk.seq
        state.last_append_ms = chunk.timestamp_ms
        return state

    def end(self, stream_id: str) -> None:
        """The stream is over; it is remembered for a while as ended."""
        state = self.live.pop(stream_id)
        period = self._pseudonyms.salt_period(state.watermark_us)
        self._remember((period, self._pseudonyms.stream_pseudonym(stream_id, period)), state)

    def idle(self, now_ms: int, idle_s: float) -> list[str]:
        """Raw ids of live streams that the append time `now_ms` has passed by; unnamed ones are ended here."""
        limit_ms = now_ms - round(idle_s * 1000)
        for key in [k for k, (state, _) in self._unnamed.items() if state.last_append_ms < limit_ms]:
            self._remember(key, self._unnamed.pop(key)[0])
        return [stream_id for stream_id, state in self.live.items() if state.last_append_ms < limit_ms]

    def snapshot(self, operators_of: dict[str, dict[str, Snapshot]]) -> Snapshot:
        """Everything as JSON values. `operators_of`: raw stream id -> operator name -> its snapshot."""
        streams = []
        for stream_id, state in self.live.items():
            period = self._pseudonyms.salt_period(state.watermark_us)
            key = self._pseudonyms.stream_pseudonym(stream_id, period)
            streams.append(_to_json(period, key, state) | {"operators": operators_of.get(stream_id, {})})
        for (period, key), (state, operators) in self._unnamed.items():
            streams.append(_to_json(period, key, state) | {"operators": dict(operators)})
        return {"streams": streams, "ended": [_to_json(p, k, s) for (p, k), s in self._ended.items()]}

    def restore(self, snapshot: Snapshot) -> Iterator[tuple[tuple[int, str], Snapshot]]:
        """Take a snapshot; yields (period, pseudonym) and the operators' snapshots of each live stream, none named
        yet."""
        for item in snapshot.get("ended", ()):
            self._ended[item["period"], item["stream"]] = _from_json(item)
        for item in snapshot.get("streams", ()):
            key = item["period"], item["stream"]
            self._unnamed[key] = _from_json(item), item["operators"]
        yield from [(key, operators) for key, (_, operators) in self._unnamed.items()]

    def drop_operator_state(self, key: tuple[int, str], operator: str) -> None:
        """Forget what an operator knew of a stream, if it is not named yet."""
        if key not in self._unnamed:
            return
        state, operators = self._unnamed[key]
        self._unnamed[key] = state, {name: part for name, part in operators.items() if name != operator}

    def recognise(self, stream_id: str) -> Snapshot | None:
        """Name a stream: if it is one of the snapshot's, it becomes live and its operators' snapshots are returned."""
        if stream_id in self.live or not self._unnamed:
            return None
        key = self._find(stream_id, self._unnamed)
        if key is None:
            return None
        self.live[stream_id], operators = self._unnamed.pop(key)
        return operators

    def forget_operators(self, but: str) -> None:
        """Keep sequences and watermarks, drop all operators' state `but` this one (the configuration has changed)."""
        self._unnamed = {
            key: (state, {name: part for name, part in operators.items() if name == but})
            for key, (state, operators) in self._unnamed.items()
        }

    def _find(self, stream_id: str, among: dict[tuple[int, str], Any]) -> tuple[int, str] | None:
        for period in sorted({period for period, _ in among}, reverse=True):
            key = period, self._pseudonyms.stream_pseudonym(stream_id, period)
            if key in among:
                return key
        return None

    def _remember(self, key: tuple[int, str], state: StreamState) -> None:
        self._ended.pop(key, None)
        self._ended[key] = state
        while len(self._ended) > REMEMBERED_ENDED:
            self._ended.pop(next(iter(self._ended)))


def _to_json(period: int, key: str, state: StreamState) -> dict[str, Any]:
    return {"stream": key, "period": period, **asdict(state)}


def _from_json(item: dict[str, Any]) -> StreamState:
    return StreamState(item["last_seq"], item["watermark_us"], item["last_append_ms"], list(item["missing"]))
