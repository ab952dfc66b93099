"""What is said to questions with options: with a share of what is said without looking taken off, and which share is best."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streamfx.train.face_mllm.measure import SHARES, answered, best_share, summary
from streamfx.train.face_qa.table import NEW_PERSON


def measured(looking: float, habit: float, people: int = 60) -> pd.DataFrame:
    """Questions for yes or no, half of each true. Whoever is looked at, `yes` is likelier by `habit`; the true answer is
    likelier by `looking` with the picture."""
    rows = []
    for number in range(people):
        truth = number % 2
        gain = np.where(np.arange(2) == truth, looking, 0.0)
        before = np.array([habit, 0.0])
        rows.append({
            "task": "worn", "name": "hat", "options": '["yes", "no"]', "held_out": NEW_PERSON, "person": str(number),
            "value": str(truth), "answer": ("yes", "no")[truth], "looking": before + gain, "before": before,
        })  # fmt: skip
    return pd.DataFrame(rows)


def test_without_its_habits_a_model_says_what_it_sees() -> None:
    said = answered(measured(looking=1, habit=3), 1.0)
    assert (said["said"] == said["answer"]).all()
    assert (said["raw"] == "yes").all() and (said["blind"] == "yes").all()


@pytest.mark.parametrize("share", SHARES)
def test_what_is_said_lies_between_raw_and_without_habits(share: float) -> None:
    said = answered(measured(looking=1, habit=3), share)
    right = (1 - share) * 3 < 1  # what is left of the habit is less than what is seen
    assert ((said["said"] == said["answer"]).all(), (said["said"] == "yes").all()) == (right, not right)


def test_the_best_share_is_all_where_habits_mislead() -> None:
    assert best_share(measured(looking=1, habit=3)) == 1.0


def test_the_best_share_is_none_where_what_is_said_without_looking_is_already_what_is_seen() -> None:
    one = measured(looking=1, habit=0)
    # The pictures that it is compared with are as these are, so what is taken off is what was seen.
    one["before"] = [2 * value for value in one["looking"]]
    assert best_share(one) == 0.25
    one["before"] = [8 * value for value in one["looking"]]
    assert best_share(one) == 0.0


def test_a_blind_model_is_right_by_chance() -> None:
    told = summary(answered(measured(looking=1, habit=3), 1.0))["worn/hat/yes_no"]
    assert told["blind"] == 0.5 and told["said"][0] == 1.0 and told["share_of_yes"] == 0.5
