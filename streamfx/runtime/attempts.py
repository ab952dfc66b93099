"""Counts how often a worker died while it worked on a chunk, so that a poison chunk does not stop its partition.

The count lives outside the log: it decides only when to stop trying. A mark is written before a chunk is worked on
and removed after it; a mark that is found at a start is a death.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from streamfx.records import Partition
from streamfx.sink.fs import clear_errors


class Attempts:
    """The mark of one partition, in `folder`. Several workers may believe that they own the partition, and write it at
    once: the last one's mark stays. Raises SinkError where the disk fails."""

    def __init__(self, folder: Path, partition: Partition):
        self._file = folder / f"{partition.log_name}.json"
        with clear_errors(f"{self._file}: cannot note what is being worked on"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._offset, self._deaths = self._read()

    def begin(self, offset: int) -> int:
        """Mark `offset` as being worked on; returns how many workers have died at it so far."""
        deaths = self._deaths if offset == self._offset else 0
        self._write({"offset": offset, "deaths": deaths + 1})
        return deaths

    def end(self) -> None:
        """The chunk is done with: no death is counted against it."""
        with clear_errors(f"{self._file}: cannot remove the mark"):
            self._file.unlink(missing_ok=True)

    def _read(self) -> tuple[int, int]:
        try:
            mark = json.loads(self._file.read_text())
            return int(mark["offset"]), int(mark["deaths"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return -1, 0

    def _write(self, mark: dict[str, int]) -> None:
        beside = self._file.with_suffix(f".{secrets.token_hex(4)}.tmp")
        with clear_errors(f"{self._file}: cannot note what is being worked on"):
            try:
                beside.write_text(json.dumps(mark))
                beside.replace(self._file)
            except OSError:
                beside.unlink(missing_ok=True)
                raise
