"""The precision of served models: in process, behind Triton, and where both sides disagree."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.triton import expression_alone, running_triton

from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.contract import SAME_LOGITS, ModelInfo
from streamfx.models.expression import ExpressionModel
from streamfx.nets.precision import VNNI, instruction_sets
from streamfx.serving import client as client_room
from streamfx.serving.client import open_model
from streamfx.testing import window_tensors

SMALL = "expression-small"
SEEDS = range(4)
needs_vnni = pytest.mark.skipif(not set(instruction_sets()) & VNNI, reason="this CPU has no VNNI, and int8 is refused")


def answers(serving: Serving) -> tuple[ModelInfo, np.ndarray]:  # type: ignore[type-arg]
    client = open_model(ExpressionModel, SMALL, serving)
    try:
        futures = [client.submit(window_tensors(seed)) for seed in SEEDS]
        return client.info, np.array([future.result(120)["logits"] for future in futures])
    finally:
        client.close()


def test_a_models_own_precision_goes_before_that_of_all() -> None:
    serving = Serving.model_validate({"precision": "bf16", "models": {"expression": {"precision": "fp32"}}})
    exact, own = answers(serving), answers(Serving(precision="bf16"))
    assert (exact[0].precision, own[0].precision) == ("fp32", "bf16")
    assert own[0].version == f"{exact[0].version}+bf16"
    assert not np.array_equal(exact[1], own[1])


@needs_vnni
@pytest.mark.parametrize("batch_size", [1, 3])
def test_answers_in_8_bits_do_not_depend_on_the_batch(batch_size: int) -> None:
    _, alone = answers(Serving(precision="int8", batch_size=1))
    _, together = answers(Serving(precision="int8", batch_size=batch_size))
    np.testing.assert_allclose(alone, together, atol=SAME_LOGITS, rtol=0)


@pytest.mark.parametrize("weights", [SMALL, "only-the-server-has-it"])
def test_a_server_of_another_precision_is_refused(weights: str) -> None:
    card = ExpressionModel.read_card(client_room.resolve_model(SMALL))
    serving = Serving.model_validate({"backend": "triton", "precision": "bf16"})
    client_room._check_served(ExpressionModel, weights, card.info.at("bf16"), serving)
    with pytest.raises(
        ModelError,
        match=r"serving.precision is bf16 for the model 'expression', but .* serves it in fp32: start the server with "
        r"STREAMFX_PRECISION_EXPRESSION=bf16, or set serving.models.expression.precision to fp32",
    ):
        client_room._check_served(ExpressionModel, weights, card.info, serving)


@pytest.mark.triton
@needs_vnni
def test_triton_answers_in_8_bits_as_the_nets_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFX_PRECISION", "fp32")
    monkeypatch.setenv("STREAMFX_PRECISION_EXPRESSION", "int8")
    info, wanted = answers(Serving(precision="int8"))
    with running_triton({"expression": SMALL}, expression_alone()) as url:
        behind = Serving.model_validate({"backend": "triton", "precision": "int8", "triton": {"url": url}})
        served, said = answers(behind)
        with pytest.raises(ModelError, match=r"serving.precision is fp32 .* serves it in int8"):
            answers(behind.model_copy(update={"precision": "fp32"}))
    assert served == info
    np.testing.assert_allclose(said, wanted, atol=SAME_LOGITS, rtol=0)
