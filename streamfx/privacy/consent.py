"""Who has agreed, by stream and time: a table beside the chunks' own consent headers, read again whenever it changes.

The table is a CSV file with the header `stream,consent,from,until`. `stream` is a raw stream id, `consent` is `granted` or
`refused`, and `from` and `until` (ISO 8601; UTC where they name no zone) bound the event time at which a chunk begins; an empty
one has no end. Of the lines that hold for a chunk, the last one counts.

A table that cannot be read lets nothing pass: the run stops, and what is not committed is read again once it is mended.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from streamfx.errors import PrivacyRefusal
from streamfx.records import MICROSECONDS

HEADER = ("stream", "consent", "from", "until")
Answer = Literal["granted", "refused"]


@dataclass(frozen=True, slots=True)
class _Line:
    answer: Answer
    from_us: int | None
    until_us: int | None

    def holds(self, start_us: int) -> bool:
        return (self.from_us is None or self.from_us <= start_us) and (
            self.until_us is None or start_us < self.until_us
        )


class ConsentTable:
    """What the table in `file` says; PrivacyRefusal where it cannot be read, now or later."""

    def __init__(self, file: Path):
        self._file = file
        self._state: tuple[int, int, int] | None = None
        self._lines: dict[str, list[_Line]] = {}
        self._read_if_changed()

    def of(self, stream_id: str, start_us: int) -> Answer | None:
        """What holds for a chunk of this stream that begins at this event time (UTC microseconds); None where no line
        does."""
        self._read_if_changed()
        holding = [line.answer for line in self._lines.get(stream_id, ()) if line.holds(start_us)]
        return holding[-1] if holding else None

    def withdrawn(self, now_us: int) -> list[tuple[str, int | None, int]]:
        """Each stretch of event time up to `now_us` for which a stream is refused: raw stream id, first time (None: from
        the beginning) and the time before which it ends, UTC microseconds."""
        self._read_if_changed()
        found: list[tuple[str, int | None, int]] = []
        for stream, lines in self._lines.items():
            edges = {
                edge for line in lines for edge in (line.from_us, line.until_us) if edge is not None and edge < now_us
            }
            begins: list[int | None] = [None, *sorted(edges)]
            for begin, end in zip(begins, [*begins[1:], now_us], strict=True):
                assert end is not None
                if self.of(stream, end - 1) == "refused":
                    joins = bool(found) and found[-1][0] == stream and found[-1][2] == begin
                    found[-1:] = [(stream, found[-1][1], end)] if joins else [*found[-1:], (stream, begin, end)]
        return found

    def _read_if_changed(self) -> None:
        try:
            found = self._file.stat()
            state = found.st_ino, found.st_size, found.st_mtime_ns
            if state != self._state:
                self._lines = _parsed(self._file.read_text(encoding="utf-8"), self._file)
                self._state = state
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise PrivacyRefusal(
                f"privacy.consent_file: cannot read {self._file}: {why}. Nothing is processed without it; put it back"
            ) from error


def _parsed(text: str, file: Path) -> dict[str, list[_Line]]:
    rows = csv.reader(io.StringIO(text))
    header = next(rows, [])
    if tuple(header) != HEADER:
        raise PrivacyRefusal(f"{file}: expected the header {','.join(HEADER)}, got {','.join(header) or 'nothing'}")
    lines: defaultdict[str, list[_Line]] = defaultdict(list)
    for row in rows:
        if not row:
            continue
        where = f"{file}, line {rows.line_num}"
        if len(row) != len(HEADER) or not row[0]:
            raise PrivacyRefusal(f"{where}: expected {', '.join(HEADER)}, the first not empty; got {len(row)} values")
        stream, answer, begin, end = (value.strip() if number else value for number, value in enumerate(row))
        if answer not in ("granted", "refused"):
            raise PrivacyRefusal(f"{where}: consent: expected granted or refused, got another word")
        line = _Line("granted" if answer == "granted" else "refused", _time_us(begin, where), _time_us(end, where))
        if line.from_us is not None and line.until_us is not None and line.until_us <= line.from_us:
            raise PrivacyRefusal(f"{where}: expected `until` after `from`")
        lines[stream].append(line)
    return dict(lines)


def _time_us(text: str, where: str) -> int | None:
    """Microseconds of UTC; None for an empty text."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise PrivacyRefusal(f"{where}: expected a time such as 2026-11-22T10:00:00Z, got {text!r}") from error
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    past = time - epoch
    return (past.days * 86_400 + past.seconds) * MICROSECONDS + past.microseconds
