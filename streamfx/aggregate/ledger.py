"""What was published of which stretch of event time, and what it spent: the state in the log of aggregates.

Each stretch of event time is published once. So no two releases can be subtracted from each other, and no noise is drawn
twice for a number. What a release spends is booked on each salt period that it touches: a track lies in one of them, so
releases of different periods do not add up for it, and those of one period do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from streamfx.columns import NO_NOISE
from streamfx.errors import PrivacyRefusal, SinkError

Interval = tuple[int, int]
"""`[start, end)`."""
_UNITS = {"laplace": "epsilon", "gaussian": "rho"}


@dataclass(frozen=True, slots=True)
class Booking:
    """What a release with noise asks for: `charge` of each salt period, and the budget that it believes in."""

    charge: Decimal
    budget: Decimal
    salt_period_s: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The state. `noise` is None before the first release. `done` and `spent` are ascending and do not overlap.

    `spent` has salt periods `[first, end)` and what is spent of each of them.
    """

    noise: str | None = None
    done: tuple[Interval, ...] = ()
    budget: Decimal | None = None
    salt_period_s: int | None = None
    spent: tuple[tuple[int, int, Decimal], ...] = ()

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Ledger:
        """The ledger from the log; an empty one from {}."""
        if not state:
            return cls()
        try:
            return cls(
                state["noise"],
                tuple((int(start), int(end)) for start, end in state["done"]),
                None if state["budget"] is None else Decimal(state["budget"]),
                state["salt_period_s"],
                tuple((int(first), int(end), Decimal(much)) for first, end, much in state["spent"]),
            )
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise SinkError(f"the log of aggregates has a state that this version cannot read ({error})") from error

    def as_json(self) -> dict[str, Any]:
        """The ledger as plain JSON values; amounts as text, since they must not be rounded."""
        return {
            "noise": self.noise,
            "done": [list(interval) for interval in self.done],
            "budget": None if self.budget is None else str(self.budget),
            "salt_period_s": self.salt_period_s,
            "spent": [[first, end, str(much)] for first, end, much in self.spent],
        }

    def left_of(self, start: int, end: int) -> list[Interval]:
        """The parts of `[start, end)` that were not published yet."""
        found, at = [], start
        for first, last in self.done:
            if at < min(first, end):
                found.append((at, min(first, end)))
            at = max(at, last)
        return found + ([(at, end)] if at < end else [])

    def after(self, start: int, end: int, noise: str, booking: Booking | None, where: str) -> Ledger:
        """The state once the rest of `[start, end)` is published. PrivacyRefusal where that must not be."""
        if self.noise not in (None, noise):
            raise PrivacyRefusal(
                f"{where}: its aggregates were published with noise {self.noise!r}, and this call has {noise!r}; exact and "
                "noisy numbers of one dataset together would undo the noise. Set aggregate.noise as it was"
            )
        done = _joined([*self.done, (start, end)])
        if booking is None:
            return Ledger(NO_NOISE, done)
        self._check_terms(booking, noise, where)
        spent = self.spent
        # One release is charged once for a period, also where it publishes several stretches of it.
        touched = _joined([periods(*piece, booking.salt_period_s) for piece in self.left_of(start, end)])
        for piece in touched:
            spent = _booked(spent, piece, booking.charge)
        most = max((spent_in(spent, piece) for piece in touched), default=Decimal(0))
        budget = booking.budget if self.budget is None else self.budget
        allowed = min(budget, booking.budget)
        if most > allowed:
            raise PrivacyRefusal(
                f"{where}: this release would bring the {_UNITS[noise]} that is spent of a salt period to {most}, and the "
                f"budget is {allowed}; nothing was published. Choose a smaller aggregate.noise.{noise}.{_UNITS[noise]}, or "
                "another stretch of time (--from, --to)"
            )
        return Ledger(noise, done, budget, booking.salt_period_s, spent)

    def _check_terms(self, booking: Booking, noise: str, where: str) -> None:
        if self.salt_period_s not in (None, booking.salt_period_s):
            raise PrivacyRefusal(
                f"{where}: the budget is kept by salt periods of {self.salt_period_s} s, and privacy.salt_period_s is "
                f"{booking.salt_period_s}; give the configuration that the rows were written with"
            )
        if self.budget is not None and booking.budget > self.budget:
            raise PrivacyRefusal(
                f"{where}: the first release fixed the budget at {_UNITS[noise]} {self.budget} for each salt period, and "
                f"aggregate.noise.{noise}.budget is {booking.budget}; a budget does not grow. Set it to {self.budget} or less"
            )


def periods(start_us: int, end_us: int, salt_period_s: int) -> Interval:
    """The salt periods that `[start_us, end_us)` touches; the one of all times without rotation."""
    length = salt_period_s * 1_000_000
    return (start_us // length, -(-end_us // length)) if length else (0, 1)


def spent_in(spent: tuple[tuple[int, int, Decimal], ...], within: Interval) -> Decimal:
    """The most that is spent of any of these salt periods."""
    return max((much for first, end, much in spent if first < within[1] and within[0] < end), default=Decimal(0))


def _joined(intervals: list[Interval]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif start < end:
            found.append((start, end))
    return tuple(found)


def _booked(
    spent: tuple[tuple[int, int, Decimal], ...], piece: Interval, charge: Decimal
) -> tuple[tuple[int, int, Decimal], ...]:
    """With `charge` more on each period of `piece`; neighbours with equal amounts become one run."""
    edges = sorted({edge for first, end, _ in spent for edge in (first, end)} | set(piece))
    found: list[tuple[int, int, Decimal]] = []
    for first, end in pairwise(edges):
        much = spent_in(spent, (first, end)) + (charge if piece[0] <= first and end <= piece[1] else 0)
        if not much:
            continue
        if found and found[-1][1] == first and found[-1][2] == much:
            found[-1] = (found[-1][0], end, much)
        else:
            found.append((first, end, much))
    return tuple(found)
