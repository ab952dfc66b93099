"""Measures of attributes: what counts, intervals over people, gaps by group; and SVMs that find what is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streamfx.errors import EvaluationError
from streamfx.train.attribute_evaluation import LEAST, AttributesEvaluation, measure, table
from streamfx.train.attribute_phases import tag_loss, tag_weights
from streamfx.train.attribute_settle import _platt, _svm, balanced

LABELS = ("Bald", "Smiling")


def test_accuracy_flatters_a_rare_attribute_and_balanced_accuracy_does_not() -> None:
    truth = np.zeros((100, 2), np.int8)
    truth[:5, 0] = 1
    truth[::2, 1] = 1
    answers = np.zeros((100, 2), bool)
    answers[:, 1] = truth[:, 1] == 1
    found = measure(LABELS, answers, truth, [str(i) for i in range(100)], [{}] * 100)
    assert found.accuracy.tolist() == [0.95, 1.0] and found.balanced.tolist() == [0.5, 1.0]
    assert found.accuracy_mean.value == pytest.approx(0.975) and found.balanced_mean.value == pytest.approx(0.75)
    assert (found.yes.tolist(), found.no.tolist(), found.people) == ([5, 50], [95, 50], 100)


def test_unknown_labels_and_attributes_with_one_answer_do_not_count() -> None:
    truth = np.array([[-1, 1], [-1, 0], [1, 1]], np.int8)
    answers = np.array([[False, True], [True, False], [False, True]])
    found = measure(LABELS, answers, truth, ["a", "b", "c"], [{}] * 3)
    assert np.isnan(found.balanced[0]) and found.balanced[1] == 1.0
    assert found.balanced_mean.value == 1.0


def test_intervals_are_over_people_not_over_pictures() -> None:
    """The same answers, of four people or of four hundred: fewer people make a wider interval."""
    rng = np.random.default_rng(1)
    per_person = rng.random(400) < 0.8
    truth = np.tile(np.array([[0, 0], [1, 1]], np.int8), (200, 1))
    answers = np.where(per_person[:, None], truth == 1, truth == 0)

    def width(people: list[str]) -> float:
        found = measure(LABELS, answers, truth, people, [{}] * 400).balanced_mean
        return found.high - found.low

    assert width([str(i // 40) for i in range(400)]) != width([str(i) for i in range(400)])
    repeated = measure(LABELS, np.repeat(answers[:40], 10, 0), np.repeat(truth[:40], 10, 0),
                       [str(i // 10) for i in range(400)], [{}] * 400)  # fmt: skip
    alone = measure(LABELS, answers[:40], truth[:40], [str(i) for i in range(40)], [{}] * 40)
    assert repeated.balanced_mean.as_json() == pytest.approx(alone.balanced_mean.as_json(), abs=1e-9)


def test_gaps_compare_groups_on_the_attributes_that_both_have() -> None:
    truth = np.tile(np.array([[0, 0], [1, 1]], np.int8), (40, 1))
    groups = [{"skin": "light" if i < 40 else "dark"} for i in range(80)]
    truth[40:, 0] = 0  # none of the second group is bald
    answers = truth == 1
    answers[40:, 1] = False
    found = measure(LABELS, answers, truth, [str(i) for i in range(80)], groups)
    assert found.means("skin") == {"dark": 0.5, "light": 1.0} and found.gap("skin") == 0.5


def bearded_men(bearded: int) -> AttributesEvaluation:
    """Twenty men and twenty women of whom `bearded` men have a goatee, which the model sees in every man."""
    people = np.arange(40)
    truth = np.stack([people < bearded, people % 2 == 0], axis=1).astype(np.int8)
    answers = np.stack([people < 20, people % 2 == 0], axis=1)
    groups = [{"sex": "male" if person < 20 else "female"} for person in people]
    measured = measure(("Goatee", "Smiling"), answers, truth, people.astype(str).tolist(), groups)
    return AttributesEvaluation("m", "1", "lnet_anet", True, "set", 40, measured, 1.0, 1, 1)


def test_a_group_in_which_an_attribute_does_not_occur_does_not_flatter_it() -> None:
    """Of all people the model seems to know goatees; of men it knows nothing, and of women nothing can be said."""
    found = bearded_men(10).measured
    assert found.balanced[0] == pytest.approx((1 + 20 / 30) / 2)
    assert found.groups["sex"]["male"].tolist() == [0.5, 1.0]
    assert np.isnan(found.groups["sex"]["female"][0]) and found.groups["sex"]["female"][1] == 1.0
    assert found.means("sex") == {"female": 1.0, "male": 1.0}, "only what both have is compared"


def test_the_table_says_where_a_group_has_not_enough_people() -> None:
    whole, by_group = table([bearded_men(10)]).split("\n\n", 1)
    assert "| gap by sex, points | 0.0 |" in whole
    assert "not enough: fewer than 8 people of the group with the attribute" in by_group
    assert "|  | all | sex: female | sex: male |" in by_group
    assert "| Goatee | 83.3 | not enough | 50.0 |" in by_group and "| Smiling | 100.0 | 100.0 | 100.0 |" in by_group
    assert "| Goatee | 80.3 | not enough | not enough |" in table([bearded_men(LEAST - 1)])
    one = bearded_men(10).as_json()
    assert one["attributes"]["Goatee"]["groups"] == {"sex": {"female": None, "male": 0.5}} and one["gaps"] == {
        "sex": 0.0
    }


def test_where_no_attribute_can_be_compared_there_is_no_gap() -> None:
    truth = np.array([[0, 1], [1, 0], [0, 0], [1, 1]], np.int8)
    groups = [{"sex": "male"}] * 2 + [{"sex": "female"}] * 2
    found = measure(LABELS, truth == 1, truth, ["a", "b", "c", "d"], groups)
    assert found.means("sex") == {} and found.gap("sex") is None
    assert "| gap by sex, points | not enough |" in table([replace(bearded_men(10), measured=found)])


def test_a_set_that_tells_nothing_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="expected pictures with and without some attribute"):
        measure(LABELS, np.zeros((3, 2), bool), np.full((3, 2), -1, np.int8), ["a", "b", "c"], [{}] * 3)


def test_an_svm_separates_and_its_scale_makes_even_odds_at_the_border() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(400, generator=generator) < 0.1).long()  # one in ten
    x = torch.randn(400, 5, generator=generator, dtype=torch.float64)
    x[:, 0] += 2.5 * truth
    weight, bias = _svm(x, truth, 0.3)
    scores = x @ weight + bias
    assert balanced(scores.numpy(), truth.numpy()) > 0.8
    scale, shift = _platt(scores, truth)
    assert scale > 0
    said = torch.sigmoid(scores * scale + shift)
    yes, no = said[truth == 1].mean(), said[truth == 0].mean()
    assert float(yes) > 0.7 and float(no) < 0.3


def test_the_loss_ignores_what_is_unknown_and_weighs_rare_answers_more() -> None:
    labels = torch.tensor([[1, -1], [0, 0], [0, 0], [0, 1]])
    weights = tag_weights(labels)
    assert weights[1, 0] > weights[0, 0]
    logits = torch.zeros(4, 2, requires_grad=True)
    tag_loss(logits, labels, weights).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0 and abs(float(logits.grad[:, 0].sum())) < 1e-6
