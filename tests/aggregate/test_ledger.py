"""The account of what was published and spent: it never exceeds the budget, whatever is released in whatever order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.aggregate.ledger import Booking, Ledger, periods, spent_in
from streamfx.errors import PrivacyRefusal, SinkError

SECOND = 1_000_000
PERIOD_S = 10


def booking(charge: str = "0.1", budget: str = "0.3", period_s: int = PERIOD_S) -> Booking:
    return Booking(Decimal(charge), Decimal(budget), period_s)


def spans() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, 60), st.integers(1, 25)).map(
        lambda two: (two[0] * SECOND, (two[0] + two[1]) * SECOND)
    )


@settings(deadline=None)
@given(st.lists(st.tuples(spans(), st.sampled_from(["0.1", "0.2", "0.07"])), max_size=12))
def test_each_period_is_charged_once_by_each_release_that_touches_it(calls: list[tuple[tuple[int, int], str]]) -> None:
    ledger, done, spent = Ledger(), set[int](), dict[int, Decimal]()
    for (start, end), charge in calls:
        fresh = {second for second in range(start // SECOND, end // SECOND) if second not in done}
        expected = dict(spent)
        for period in {second // PERIOD_S for second in fresh}:
            expected[period] = expected.get(period, Decimal(0)) + Decimal(charge)
        assert {s for a, b in ledger.left_of(start, end) for s in range(a // SECOND, b // SECOND)} == fresh
        touched = [expected[second // PERIOD_S] for second in fresh]
        if max(touched, default=Decimal(0)) > Decimal("0.3"):
            with pytest.raises(PrivacyRefusal, match="nothing was published"):
                ledger.after(start, end, "laplace", booking(charge), "here")
            continue
        ledger = ledger.after(start, end, "laplace", booking(charge), "here")
        assert Ledger.from_json(ledger.as_json()) == ledger
        done |= fresh
        spent = expected
        assert {p: spent_in(ledger.spent, (p, p + 1)) for p in range(10)} == {
            p: spent.get(p, Decimal(0)) for p in range(10)
        }


def test_amounts_are_not_rounded() -> None:
    ledger = Ledger()
    for second in range(3):
        ledger = ledger.after(second * SECOND, (second + 1) * SECOND, "laplace", booking("0.1", "0.3"), "here")
    assert ledger.spent == ((0, 1, Decimal("0.3")),)
    with pytest.raises(PrivacyRefusal, match=r"to 0\.4, and the budget is 0\.3"):
        ledger.after(3 * SECOND, 4 * SECOND, "laplace", booking("0.1", "0.3"), "here")


def test_without_rotation_there_is_one_period_of_all_times() -> None:
    assert periods(5, 10**15, 0) == (0, 1)
    ledger = Ledger().after(0, SECOND, "gaussian", booking(period_s=0), "here")
    assert ledger.after(10**12, 2 * 10**12, "gaussian", booking(period_s=0), "here").spent == ((0, 1, Decimal("0.2")),)


@pytest.mark.parametrize(
    ("noise", "terms", "said"),
    [
        ("none", None, "would undo the noise"),
        ("gaussian", booking(), "would undo the noise"),
        ("laplace", booking(budget="0.4"), "a budget does not grow"),
        ("laplace", booking(period_s=20), "the budget is kept by salt periods of 10 s"),
    ],
)
def test_the_first_release_fixes_the_terms(noise: str, terms: Booking | None, said: str) -> None:
    ledger = Ledger().after(0, SECOND, "laplace", booking(), "here")
    with pytest.raises(PrivacyRefusal, match=said):
        ledger.after(SECOND, 2 * SECOND, noise, terms, "here")


def test_a_lower_budget_binds_the_call_that_has_it() -> None:
    ledger = Ledger().after(0, SECOND, "laplace", booking(), "here")
    with pytest.raises(PrivacyRefusal, match=r"the budget is 0\.15"):
        ledger.after(SECOND, 2 * SECOND, "laplace", booking(budget="0.15"), "here")
    assert ledger.after(SECOND, 2 * SECOND, "laplace", booking(), "here").budget == Decimal("0.3")


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(SinkError, match="a state that this version cannot read"):
        Ledger.from_json({"noise": "laplace", "done": [[0]], "budget": "x", "salt_period_s": 1, "spent": []})
