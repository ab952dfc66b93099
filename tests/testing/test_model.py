"""The fake model: what a served model promises, without one."""

from __future__ import annotations

import numpy as np
import pytest

from streamfx.errors import ModelError, ServingUnavailable
from streamfx.testing import FakeModel, window_tensors


def test_equal_inputs_have_equal_answers_and_others_have_others() -> None:
    model = FakeModel(labels=("a", "b", "c"))
    one, same, other = (model.submit(window_tensors(seed)).result(0)["logits"] for seed in (1, 1, 2))
    assert one.shape == (3,) and one.dtype == np.float32
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert model.asked == 3


def test_it_answers_with_a_label_a_function_or_an_error() -> None:
    inputs = window_tensors()
    assert FakeModel("neutral").submit(inputs).result(0)["logits"].tolist() == [0, 4]
    assert FakeModel(lambda given: [given["frames"].ndim, 0]).submit(inputs).result(0)["logits"].tolist() == [4, 0]
    named = {"logits": np.float32([1, 2])}
    assert FakeModel(lambda given: named).submit(inputs).result(0) == named
    with pytest.raises(ServingUnavailable):
        FakeModel(ServingUnavailable("away")).submit(inputs).result(0)
    with pytest.raises(ValueError, match="one of the labels"):
        FakeModel("gladness")


@pytest.mark.parametrize("side", [64, 113])
def test_inputs_and_answers_that_break_the_contract_are_refused(side: int) -> None:
    with pytest.raises(ModelError, match=r"expected uint8 \[16, 3, 112, 112\]"):
        FakeModel().submit(window_tensors(side=side)).result(0)
    with pytest.raises(ModelError, match="fbank"):
        FakeModel().submit({"frames": window_tensors()["frames"]}).result(0)
    with pytest.raises(ModelError, match="logits"):
        FakeModel(lambda given: [float("nan"), 0]).submit(window_tensors()).result(0)


def test_late_answers_come_with_the_flush_the_last_one_first() -> None:
    model, came = FakeModel(late=True), []
    asked = [model.submit(window_tensors(seed)) for seed in range(3)]
    for number, future in enumerate(asked):
        future.add_done_callback(lambda _, number=number: came.append(number))
    assert came == []
    model.flush()
    assert came == [2, 1, 0]
    waits = model.submit(window_tensors())
    model.close()
    assert model.closed
    with pytest.raises(ModelError, match="closed"):
        waits.result(0)
