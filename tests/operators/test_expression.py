"""The expression operator: columns that follow from the model, values that follow from the logits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from pydantic import ValidationError
from streamfx_operators.expression import Expression

from streamfx.config.serving import Serving
from streamfx.errors import ModelError, ServingUnavailable
from streamfx.models.card import resolve_model
from streamfx.models.expression import logits
from streamfx.models.frames import to_model_size
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.pipeline import find_operator
from streamfx.serving.client import open_model
from streamfx.testing import FakeModel, make_context, make_window, run_scores, window_tensors

MODEL = "expression-small"


@pytest.fixture
def operator():  # type: ignore[no-untyped-def]
    serving = Serving()
    context = replace(make_context(), open_model=partial(open_model, serving=serving))
    made = Expression(Expression.Config(model=MODEL), context)
    yield made
    made.close()


def test_it_is_found_by_its_name() -> None:
    assert find_operator("expression") is Expression


def test_a_column_for_each_expression_of_the_model(operator: Expression) -> None:
    assert [column.name for column in operator.columns] == [
        *(f"p_{label}" for label in LABELS_7),
        "expression",
        "expression_confidence",
    ]
    category = operator.columns[-2]
    assert (category.kind, category.values) == ("category", LABELS_7)
    assert all(column.description for column in operator.columns)


def test_values_are_the_softmax_of_the_logits(operator: Expression) -> None:
    values = operator.submit(make_window(5)).result(60)
    tensors = window_tensors(5)
    raw = np.array(logits(resolve_model(MODEL), tensors["frames"][None], tensors["fbank"][None]))
    expected = np.exp(raw) / np.exp(raw).sum()
    np.testing.assert_allclose([values[f"p_{label}"] for label in LABELS_7], expected, atol=1e-4)
    assert values["expression"] == LABELS_7[int(raw.argmax())]
    assert values["expression_confidence"] == max(values[f"p_{label}"] for label in LABELS_7)
    assert set(values) == {column.name for column in operator.columns}


def test_windows_in_flight_keep_their_own_answers(operator: Expression) -> None:
    together = [operator.submit(make_window(seed)) for seed in range(6)]
    operator.flush()
    for seed, future in enumerate(together):
        alone = operator.submit(make_window(seed)).result(60)
        assert future.result(60)["expression_confidence"] == pytest.approx(alone["expression_confidence"], abs=1e-4)


def test_windows_of_another_size_are_resized(operator: Expression) -> None:
    assert operator.submit(make_window(0, side=64)).result(60)["expression_confidence"] > 0


def test_an_error_of_the_model_comes_through_the_future(operator: Expression) -> None:
    broken = make_window(0)
    broken.fbank[3, 4] = np.nan
    with pytest.raises(ModelError, match=r"^expression, model expression-small: .*fbank"):
        operator.submit(broken).result(60)


def test_answers_that_come_in_another_order_stay_with_their_windows() -> None:
    def scored(late: bool) -> list[dict[str, object]]:
        model = FakeModel(labels=LABELS_7, late=late)
        operator = Expression(Expression.Config(model="fake"), make_context({"fake": model}))
        return run_scores(operator, [make_window(seed) for seed in range(4)])

    assert scored(late=True) == scored(late=False)
    assert len({row["expression_confidence"] for row in scored(late=False)}) == 4


def test_a_server_that_gives_no_answer_is_an_error_and_the_model_is_given_back() -> None:
    model = FakeModel(ServingUnavailable("no answer"))
    operator = Expression(Expression.Config(model="fake"), make_context({"fake": model}))
    with pytest.raises(ServingUnavailable):
        run_scores(operator, [make_window()])
    operator.close()
    assert model.closed


def test_weights_that_are_not_there_are_named_with_the_setting() -> None:
    context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
    with pytest.raises(ModelError, match=r"^expression\.model: no model 'absent'"):
        Expression(Expression.Config(model="absent"), context)


def test_provenance_names_weights_and_version(operator: Expression) -> None:
    provenance = operator.provenance()
    assert provenance["model"] == MODEL
    assert provenance["model_version"]


@pytest.mark.parametrize(("side", "to"), [(112, 112), (224, 112), (80, 112), (160, 112)])
def test_resizing_keeps_colour_place_and_contiguity(side: int, to: int) -> None:
    """Left half red, right half blue stays so; a picture of one colour does not change at all."""
    frames = np.zeros((16, side, side, 3), np.uint8)
    frames[:, :, : side // 2, 0] = 200
    frames[:, :, side // 2 :, 2] = 100
    resized = to_model_size(frames, to)
    assert (resized.shape, resized.dtype, resized.flags.c_contiguous) == ((16, 3, to, to), np.uint8, True)
    quarter = to // 4
    assert (resized[:, 0, :, :quarter] == 200).all() and (resized[:, 0, :, -quarter:] == 0).all()
    assert (resized[:, 2, :, -quarter:] == 100).all() and (resized[:, 1] == 0).all()


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="weights"):
        Expression.Config.model_validate({"weights": "x"})
