"""One owned partition as a worker's two threads see it, and the part of the input that a run is limited to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from streamfx.records import Partition
from streamfx.runtime.line import PartitionLine
from streamfx.runtime.load import PartitionMeter
from streamfx.runtime.resume import Bounds
from streamfx.source import Source


@dataclass(frozen=True, slots=True)
class RunRange:
    """What part of the topic to run: offsets, or UTC times in milliseconds where `by_time`; `end` is not included."""

    start: int | None = None
    end: int | None = None
    by_time: bool = False

    @property
    def words(self) -> str | None:
        """The range as the dataset keeps it; None for all of the input."""
        if self.start is None and self.end is None:
            return None
        first, end = (None if bound is None else self._word(bound) for bound in (self.start, self.end))
        unit = "times" if self.by_time else "offsets"
        return f"{unit} from {first or 'the beginning'} to {end or 'the end'}"

    def _word(self, bound: int) -> str:
        if not self.by_time:
            return str(bound)
        return datetime.fromtimestamp(bound / 1000, UTC).isoformat(timespec="milliseconds")

    def bounds(self, source: Source, partition: Partition) -> Bounds:
        """The range as offsets of one partition."""
        if not self.by_time:
            return Bounds(self.start, self.end)
        return Bounds(*(None if t is None else source.offset_at(partition, t) for t in (self.start, self.end)))


@dataclass(slots=True)
class Lane:
    """One owned partition as both threads see it. `generation` counts the seeks asked for; records of an older one,
    which were polled before the latest seek, are dropped."""

    partition: Partition
    line: PartitionLine | None = None
    bounds: Bounds = field(default_factory=Bounds)
    generation: int = 0
    polled_generation: int = 0
    polled: int = 0
    taken: int = 0
    paused: bool = True
    past_end: bool = False
    polled_all: bool = False
    changed: bool = False
    """The file is not the one that was read before: it is left out."""
    meter: PartitionMeter = field(default_factory=PartitionMeter)

    @property
    def queued(self) -> int:
        """Records between the two threads; each thread writes a counter of its own."""
        return self.polled - self.taken

    def seeked(self, generation: int) -> None:
        """Reading goes on where the line does: what was noted about the reading before it no longer holds."""
        self.polled_generation = generation
        self.past_end = self.polled_all = False

    @property
    def uncommitted(self) -> int:
        """Records in the line that no entry covers yet."""
        return self.line.pending.records if self.line is not None else 0

    @property
    def read_out(self) -> bool:
        """True when all of the wanted range is in the line."""
        if self.changed:
            return True
        if self.line is None or self.queued or self.polled_generation != self.generation:
            return False
        reached_end = self.bounds.end is not None and self.line.next_offset >= self.bounds.end
        return self.polled_all or reached_end

    @property
    def finished(self) -> bool:
        """True when all of the wanted range is committed: a last commit may be lost to another writer too."""
        return self.read_out and not self.uncommitted

    @property
    def finished_before(self) -> bool:
        """True when an earlier run had committed all of the wanted range."""
        return (
            self.finished
            and not self.polled
            and not self.changed
            and self.line is not None
            and self.line.next_offset > 0
        )
