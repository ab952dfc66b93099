"""The in-process backend, through the client's face: same answers however they are batched; bounded; shared."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.windows import window_tensors

from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.card import resolve_model
from streamfx.models.contract import SAME_LOGITS
from streamfx.models.expression import ExpressionModel, logits
from streamfx.serving.client import open_model, retune_models

TINY = "expression-tiny"


def expected(seed: int) -> list[float]:
    tensors = window_tensors(seed)
    return logits(resolve_model(TINY), tensors["frames"][None], tensors["fbank"][None])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batched_answers_equal_single_ones_and_keep_their_order(batch_size: int) -> None:
    client = open_model(ExpressionModel, TINY, Serving(batch_size=batch_size, in_flight=8))
    futures = [client.submit(window_tensors(seed)) for seed in range(8)]
    client.flush()
    for seed, future in enumerate(futures):
        np.testing.assert_allclose(future.result(60)["logits"], expected(seed), atol=SAME_LOGITS, rtol=0)
    client.close()


def test_submit_waits_while_too_much_is_in_flight() -> None:
    client = open_model(ExpressionModel, TINY, Serving(in_flight=2, batch_size=1))
    open_at_once = []
    futures = []
    for seed in range(6):
        futures.append(client.submit(window_tensors(seed)))
        open_at_once.append(sum(not future.done() for future in futures))
    assert max(open_at_once) <= 2
    assert all(future.result(60) for future in futures)
    client.close()


def test_clients_of_one_model_share_one_net() -> None:
    serving = Serving(batch_size=2)
    before = threading.active_count()
    clients = [open_model(ExpressionModel, TINY, serving) for _ in range(4)]
    assert threading.active_count() == before + 1
    for client in clients[:-1]:
        client.close()
        client.close()
    assert clients[-1].submit(window_tensors(1)).result(60)["logits"].shape == (7,)
    clients[-1].close()
    assert threading.active_count() == before


def test_a_wrong_item_fails_alone() -> None:
    client = open_model(ExpressionModel, TINY, Serving())
    wrong = client.submit(window_tensors(1, side=96))
    good = client.submit(window_tensors(1))
    with pytest.raises(ModelError, match=r"expected uint8 \[16, 3, 112, 112\], got uint8 \[16, 3, 96, 96\]"):
        wrong.result(60)
    assert good.result(60)
    client.close()


def test_a_closed_client_says_so_and_what_waits_does_not_hang() -> None:
    client = open_model(ExpressionModel, TINY, Serving(batch_size=1, in_flight=8))
    futures = [client.submit(window_tensors(seed)) for seed in range(8)]
    client.close()
    for future in futures:
        assert future.exception(60) is None or isinstance(future.exception(), ModelError)
    with pytest.raises(ModelError, match="closed"):
        client.submit(window_tensors(0)).result(60)


def test_an_unknown_model_is_an_error_at_open(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        open_model(ExpressionModel, str(tmp_path / "nothing"), Serving())


def test_the_bound_on_what_is_in_flight_may_change_while_somebody_waits_for_room() -> None:
    client = open_model(ExpressionModel, TINY, Serving(in_flight=1, batch_size=1))
    here, held, gate = threading.current_thread(), threading.Event(), threading.Event()

    def hold(_: object) -> None:
        if threading.current_thread() is not here:  # the net's own thread, which then answers nobody
            held.set()
            gate.wait()

    while not held.wait(1):
        client.submit(window_tensors(0)).add_done_callback(hold)
    futures = [client.submit(window_tensors(1))]
    waiting = threading.Thread(target=lambda: futures.append(client.submit(window_tensors(2))))
    waiting.start()
    retune_models(Serving(in_flight=2, batch_size=3))
    waiting.join(60)
    assert len(futures) == 2
    gate.set()
    assert all(future.result(60) for future in futures)
    client.close()


def test_clients_that_differ_in_live_knobs_alone_share_one_net() -> None:
    before = threading.active_count()
    clients = [open_model(ExpressionModel, TINY, Serving(in_flight=places)) for places in (1, 2)]
    assert threading.active_count() == before + 1
    for client in clients:
        client.close()
