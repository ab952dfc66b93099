"""The measures of recognition: worked examples, and laws that hold for any predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamfx.train.metrics import confusion_matrix, mean, over_people, recalls, reliability, uar, war

CONFUSIONS = st.integers(1, 7).flatmap(
    lambda classes: arrays.arrays(np.int64, (classes, classes), elements=st.integers(0, 50))
)
"""Any confusion matrix."""


def test_a_worked_example() -> None:
    truth, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    confusion = confusion_matrix(truth, predicted, 3)
    assert confusion.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert war(confusion) == pytest.approx(4 / 6)
    assert uar(confusion) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert np.isnan(recalls(confusion)[2])


def test_measures_without_examples_are_nan() -> None:
    empty = confusion_matrix(np.array([], np.int64), np.array([], np.int64), 3)
    assert np.isnan(war(empty)) and np.isnan(uar(empty))
    assert np.isnan(reliability(np.zeros((0, 3)), np.array([], np.int64)).ece)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_unknown_class_number_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.2"):
        confusion_matrix(np.array([0, wrong]), np.array([0, 1]), 3)


@given(CONFUSIONS)
def test_war_is_recall_weighted_by_frequency(confusion: np.ndarray) -> None:  # type: ignore[type-arg]
    of_class = confusion.sum(axis=1)
    if of_class.sum():
        assert war(confusion) == pytest.approx(np.nansum(recalls(confusion) * of_class) / of_class.sum())


@given(CONFUSIONS, st.data())
def test_uar_does_not_depend_on_the_frequency_of_classes(confusion: np.ndarray, data: st.DataObject) -> None:  # type: ignore[type-arg]
    times = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(confusion), max_size=len(confusion))))
    assert uar(confusion * times[:, None]) == pytest.approx(uar(confusion), nan_ok=True)


@given(CONFUSIONS)
def test_uar_is_war_where_classes_are_equally_frequent(confusion: np.ndarray) -> None:  # type: ignore[type-arg]
    of_class = confusion.sum(axis=1)
    if of_class.all():
        balanced = confusion * (np.prod(of_class) // of_class)[:, None]
        assert war(balanced) == pytest.approx(uar(confusion))


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Probabilities [n, 4] and true classes [n]."""
    n = draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random.dirichlet(np.full(4, draw(st.sampled_from([0.1, 1.0, 10.0]))), n), random.integers(0, 4, n)


@given(scored(), st.randoms())
def test_the_order_of_examples_does_not_matter(case: tuple[np.ndarray, np.ndarray], random: object) -> None:  # type: ignore[type-arg]
    probabilities, truth = case
    order = list(range(len(truth)))
    random.shuffle(order)  # type: ignore[attr-defined]
    predicted = probabilities.argmax(axis=1)
    assert (confusion_matrix(truth, predicted, 4) == confusion_matrix(truth[order], predicted[order], 4)).all()
    assert reliability(probabilities, truth).ece == pytest.approx(reliability(probabilities[order], truth[order]).ece)


@given(scored(), st.permutations(range(4)))
def test_the_names_of_the_classes_do_not_matter(case: tuple[np.ndarray, np.ndarray], names: list[int]) -> None:  # type: ignore[type-arg]
    probabilities, truth = case
    renamed, true_renamed = probabilities[:, np.argsort(names)], np.array(names)[truth]
    before = confusion_matrix(truth, probabilities.argmax(axis=1), 4)
    after = confusion_matrix(true_renamed, renamed.argmax(axis=1), 4)
    assert (after[np.ix_(names, names)] == before).all()
    assert war(after) == pytest.approx(war(before))
    assert uar(after) == pytest.approx(uar(before))
    assert reliability(renamed, true_renamed).ece == pytest.approx(reliability(probabilities, truth).ece)


@given(scored())
def test_every_example_lies_in_one_bin(case: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    curve = reliability(*case)
    assert curve.counts.sum() == len(case[1])
    filled = curve.counts > 0
    edges = np.arange(len(curve.counts) + 1) / len(curve.counts)
    assert (curve.confidence[filled] > edges[:-1][filled] - 1e-9).all()
    assert (curve.confidence[filled] <= edges[1:][filled] + 1e-9).all()
    assert 0 <= curve.ece <= 1


@given(
    st.lists(st.tuples(st.integers(6, 10), st.integers(1, 5)), min_size=1, max_size=5, unique_by=lambda pair: pair[0])
)
def test_ece_is_zero_where_confidence_is_the_share_of_right_answers(groups: list[tuple[int, int]]) -> None:
    """In each group a share of `tenths` of the examples is right, which is also the confidence."""
    confidences, right = [], []
    for tenths, times in groups:
        confidences += [tenths / 10] * (10 * times)
        right += [True] * (tenths * times) + [False] * ((10 - tenths) * times)
    first = np.array(confidences)
    curve = reliability(np.stack([first, 1 - first], axis=1), np.where(right, 0, 1))
    assert curve.ece == pytest.approx(0, abs=1e-9)


def test_ece_of_certain_and_wrong_is_one() -> None:
    assert reliability(np.array([[1.0, 0.0]] * 4), np.array([1] * 4)).ece == pytest.approx(1)


def test_ece_weighs_the_bins_by_their_examples() -> None:
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.6, 0.4]])
    assert reliability(probabilities, np.array([0, 0, 1, 1])).ece == pytest.approx(
        0.75 * abs(2 / 3 - 0.9) + 0.25 * abs(0 - 0.6)
    )


def test_intervals_are_over_people_not_examples() -> None:
    """Six people, half of them always right: however many examples each has, draws of people give a wide interval."""
    people, right = np.repeat(list("abcdef"), 500), np.repeat([1.0, 0.0] * 3, 500)
    found = over_people(people, lambda rows: right[rows].mean(keepdims=True)).mean()
    assert found.value == 0.5 and found.low < 0.2 and found.high > 0.8
    assert over_people(people, lambda rows: right[rows].mean(keepdims=True)).mean() == found


def test_too_few_people_give_no_interval() -> None:
    """Draws of one person are all alike: an interval of no width would look like certainty."""
    found = over_people(["a"] * 100, lambda rows: np.ones(1)).mean()
    assert found.value == 1.0 and np.isnan(found.low) and np.isnan(found.high)


def test_a_mean_of_measures_leaves_out_those_that_are_undefined_or_not_asked_for() -> None:
    found = over_people(list("abcde"), lambda rows: np.array([0.2, np.nan, 0.6, 1.0]))
    assert found.mean().value == pytest.approx(0.6)
    assert found.mean(np.array([True, True, True, False])).as_json() == pytest.approx([0.4, 0.4, 0.4])
    assert np.isnan(found.mean(np.array([False, True, False, False])).as_json()).all()
    assert np.isnan(mean(np.array([np.nan])))
