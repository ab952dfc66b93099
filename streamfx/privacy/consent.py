"""Who has agreed, by stream and time: a table beside the chunks' own consent headers, followed while a run goes on.

The table is a file (`ConsentFile`, here) or a Kafka topic (`source/consent_topic.py`). Each line of it says `granted` or
`refused` of one stream, from one event time to before another. Of the lines that hold for a chunk, the last one counts.

A table that cannot be read lets nothing pass: the run stops, and what is not committed is read again once it is mended.
No message names a stream.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamfx.errors import PrivacyRefusal
from streamfx.records import utc_us

HEADER = ("stream", "consent", "from", "until")
Answer = Literal["granted", "refused"]


@dataclass(frozen=True, slots=True)
class ConsentLine:
    """One answer, and the event times between which a chunk must begin for it to hold (None: without end)."""

    answer: Answer
    from_us: int | None
    until_us: int | None

    def holds(self, start_us: int) -> bool:
        """Whether it speaks of a chunk that begins at this event time."""
        return (self.from_us is None or self.from_us <= start_us) and (
            self.until_us is None or start_us < self.until_us
        )


Said = Mapping[str, Mapping[int, Sequence[ConsentLine]]]
"""Raw stream id -> place -> lines. Of one place's lines the last that holds counts, of several places' answers the
stricter, since nothing says which is the later. A file is one place, a topic has one for each partition."""


class ConsentTable(ABC):
    """What was said about streams. Used by one thread."""

    where: str
    """What the table is, in words."""

    @abstractmethod
    def said(self) -> Said:
        """All that the table says now. PrivacyRefusal where it cannot be read or understood; BrokerUnavailable where
        waiting may help."""

    def close(self) -> None:  # noqa: B027 (a file is not held open)
        """Let go of whatever the table is read from."""

    def of(self, stream_id: str, start_us: int) -> Answer | None:
        """What holds for a chunk of this stream that begins at this event time (UTC microseconds); None where no line
        does. Raises as `said` does."""
        return _answer(self.said().get(stream_id, {}), start_us)

    def withdrawn(self, now_us: int) -> list[tuple[str, int | None, int]]:
        """Each stretch of event time up to `now_us` for which a stream is refused: raw stream id, first time (None: from
        the beginning) and the time before which it ends, UTC microseconds. Raises as `said` does."""
        found: list[tuple[str, int | None, int]] = []
        for stream, places in self.said().items():
            times = (edge for lines in places.values() for line in lines for edge in (line.from_us, line.until_us))
            begins: list[int | None] = [None, *sorted({edge for edge in times if edge is not None and edge < now_us})]
            for begin, end in zip(begins, [*begins[1:], now_us], strict=True):
                assert end is not None
                if _answer(places, end - 1) == "refused":
                    joins = bool(found) and found[-1][0] == stream and found[-1][2] == begin
                    found[-1:] = [(stream, found[-1][1], end)] if joins else [*found[-1:], (stream, begin, end)]
        return found


class ConsentFile(ConsentTable):
    """The table in a CSV file with the header `stream,consent,from,until`, read again whenever it changes."""

    def __init__(self, file: Path):
        """PrivacyRefusal where it cannot be read."""
        self.where = str(file)
        self._file = file
        self._state: tuple[int, int, int] | None = None
        self._said: Said = {}
        self.said()

    def said(self) -> Said:
        """What the file says now. PrivacyRefusal where it cannot be read or understood."""
        try:
            found = self._file.stat()
            state = found.st_ino, found.st_size, found.st_mtime_ns
            if state != self._state:
                self._said = _parsed(self._file.read_text(encoding="utf-8-sig"), self._file)
                self._state = state
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise PrivacyRefusal(
                f"privacy.consent_file: cannot read {self._file}: {why}. Nothing is processed without it; put it back"
            ) from error
        return self._said


def consent_line(answer: str, begin: str, end: str, where: str) -> ConsentLine:
    """A line of its texts: `granted` or `refused`, and two times (ISO 8601; UTC where they name no zone; empty: without
    end). PrivacyRefusal, which says `where`, for anything else."""
    if answer not in ("granted", "refused"):
        raise PrivacyRefusal(f"{where}: consent: expected granted or refused, got another word")
    line = ConsentLine("granted" if answer == "granted" else "refused", _time_us(begin, where), _time_us(end, where))
    if line.from_us is not None and line.until_us is not None and line.until_us <= line.from_us:
        raise PrivacyRefusal(f"{where}: expected `until` after `from`")
    return line


def _answer(places: Mapping[int, Sequence[ConsentLine]], start_us: int) -> Answer | None:
    answers: set[Answer] = set()
    for lines in places.values():
        answers.update([line.answer for line in lines if line.holds(start_us)][-1:])
    return "refused" if "refused" in answers else "granted" if answers else None


def _parsed(text: str, file: Path) -> Said:
    rows = csv.reader(io.StringIO(text))
    header = next(rows, [])
    if tuple(header) != HEADER:
        # Not shown: without its header, a table's first line names a stream.
        got = "another first line" if header else "nothing"
        raise PrivacyRefusal(f"{file}: expected the header {','.join(HEADER)}, got {got}")
    said: defaultdict[str, dict[int, list[ConsentLine]]] = defaultdict(lambda: {0: []})
    for row in rows:
        if not row:
            continue
        where = f"{file}, line {rows.line_num}"
        if len(row) != len(HEADER) or not row[0]:
            raise PrivacyRefusal(f"{where}: expected {', '.join(HEADER)}, the first not empty; got {len(row)} values")
        if row[0] != row[0].strip():
            # It would be no stream's, and so a withdrawal that holds for nobody.
            raise PrivacyRefusal(
                f"{where}: stream: expected a raw stream id, got one with a space around it; remove that"
            )
        answer, begin, end = (word.strip() for word in row[1:])
        said[row[0]][0].append(consent_line(answer, begin, end, where))
    return dict(said)


def _time_us(text: str, where: str) -> int | None:
    """Microseconds of UTC; None for an empty text."""
    if not text:
        return None
    try:
        return utc_us(text)
    except ValueError:
        # Neither shown nor kept as a cause: what stands in the wrong column may be a stream.
        raise PrivacyRefusal(f"{where}: expected a time such as 2026-11-22T10:00:00Z, got another text") from None
