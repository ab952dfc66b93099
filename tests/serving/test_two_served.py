"""Two models of one Triton server: one connection, each tensor uploaded once, and each with its own errors and its own
end."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.default_model import default_model
from helpers.foreign import TRITON, light_model, light_of_size
from helpers.triton import expression_alone, free_ports, require_triton

from streamfx.config.serving import Serving
from streamfx.errors import ModelError, ServingUnavailable
from streamfx.models.expression import ExpressionModel
from streamfx.serving.client import open_model
from streamfx.serving.contract import ModelClient
from streamfx.serving.triton_server import LocalTriton
from streamfx.serving.uploads import Uploads, uploads
from streamfx.testing import window_tensors

pytestmark = pytest.mark.triton

FRAMES_BYTES, SEEDS = 16 * 3 * 112 * 112, range(6)


@pytest.fixture(scope="module")
def light() -> Iterator[Any]:
    """The class of the foreign model, in a process where its package is installed."""
    with light_model() as model:
        yield model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a `light` that takes the frames of the default expression model."""
    return str(light_of_size(tmp_path_factory.mktemp("light") / "light-112", 112))


@pytest.fixture(scope="module")
def url(light: Any, weights: str) -> Iterator[str]:
    require_triton()
    server = LocalTriton(free_ports(), {"light": weights}, expression_alone(), also=[TRITON])
    yield server.grpc_url
    server.stop(gently=False)


def behind(url: str, shared_memory: str = "auto", **serving: object) -> Serving:
    triton = {"url": url, "shared_memory": shared_memory}
    return Serving.model_validate({"backend": "triton", "triton": triton, **serving})


def opened(light: Any, weights: str, serving: Serving) -> tuple[ModelClient, ModelClient]:
    return open_model(ExpressionModel, default_model(), serving), open_model(light, weights, serving)


def ask_both(clients: tuple[ModelClient, ModelClient], wait: bool) -> list[float]:
    """Ask both models about some windows as a line does, each with the same frames; what `light` says."""
    answers = []
    for seed in SEEDS:
        tensors = window_tensors(seed)
        first = clients[0].submit(tensors)
        if wait:
            first.result(60)
        answers.append((first, clients[1].submit({"frames": tensors["frames"]})))
    assert all(np.isfinite(first.result(60)["logits"]).all() for first, _ in answers)
    return [float(second.result(60)["light"][0]) for _, second in answers]


def connections() -> int:
    """Event loops of connections to servers in this process."""
    return sum(thread.name == "triton client" for thread in threading.enumerate())


def since(before: dict[Any, Uploads], tensor: str, way: str) -> Uploads:
    then, now = (found.get((tensor, way), Uploads()) for found in (before, uploads()))  # type: ignore[arg-type,call-overload]
    return Uploads(now.tensors - then.tensors, now.bytes - then.bytes)


@pytest.mark.parametrize("wait", [False, True], ids=["both under way", "one after the other"])
def test_the_same_frames_are_uploaded_once_for_both(light: Any, weights: str, url: str, wait: bool) -> None:
    clients = opened(light, weights, behind(url))
    try:
        assert connections() == 1
        before = uploads()
        said = ask_both(clients, wait)
        assert since(before, "frames", "shared_memory") == (len(SEEDS), len(SEEDS) * FRAMES_BYTES)
        assert since(before, "fbank", "shared_memory").tensors == len(SEEDS)
        assert since(before, "frames", "message").tensors == 0
    finally:
        for client in clients:
            client.close()
    wanted = [
        float((window_tensors(seed)["frames"].astype(float).mean((0, 2, 3)) / 255) @ [0.299, 0.587, 0.114])
        for seed in SEEDS
    ]
    np.testing.assert_allclose(said, wanted, atol=1e-4)
    assert connections() == 0
    assert not list(Path("/dev/shm").glob(f"streamfx_{os.getpid()}_*"))


def test_without_shared_memory_each_model_gets_its_own_copy(light: Any, weights: str, url: str) -> None:
    clients = opened(light, weights, behind(url, "off"))
    before = uploads()
    ask_both(clients, wait=False)
    for client in clients:
        client.close()
    assert since(before, "frames", "message").tensors == 2 * len(SEEDS)
    assert since(before, "frames", "shared_memory").tensors == 0


def test_one_model_may_go_while_the_other_is_at_work(light: Any, weights: str, url: str) -> None:
    expression, other = opened(light, weights, behind(url))
    tensors = [window_tensors(seed) for seed in SEEDS]
    dropped = [other.submit({"frames": one["frames"]}) for one in tensors]
    kept = [expression.submit(one) for one in tensors]
    other.close()
    assert all(future.done() for future in dropped)
    assert all(np.isfinite(future.result(60)["logits"]).all() for future in kept)
    with pytest.raises(ModelError, match="closed"):
        other.submit({"frames": tensors[0]["frames"]}).result(60)
    assert expression.submit(tensors[0]).result(60)
    expression.close()


@pytest.mark.slow
def test_each_model_has_its_own_deadline_and_patience(
    light: Any, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server stands still for a while: the model without patience says so by name, the other one waits."""
    require_triton()
    server = LocalTriton(free_ports(), {"light": weights}, expression_alone(), also=[TRITON])
    own = {"light": {"deadline_s": 0.5, "retries": 0}, "expression": {"deadline_s": 2.0, "retries": 20}}
    clients = opened(light, weights, behind(server.grpc_url, models=own))
    tensors = window_tensors(0)
    try:
        os.killpg(server.pid, signal.SIGSTOP)
        with caplog.at_level(logging.WARNING):
            patient = clients[0].submit(tensors)
            hasty = clients[1].submit({"frames": tensors["frames"]})
            with pytest.raises(ServingUnavailable, match=r"for model 'light' in 1 tries"):
                hasty.result(60)
            give_up = time.monotonic() + 60
            while "trying again" not in caplog.text:
                assert not patient.done() and time.monotonic() < give_up
                time.sleep(0.05)
        assert "model 'expression', is away" in caplog.text and "model 'light', is away" not in caplog.text
        os.killpg(server.pid, signal.SIGCONT)
        assert patient.result(120)["logits"].shape == (7,)
        assert clients[1].submit({"frames": tensors["frames"]}).result(60)
    finally:
        os.killpg(server.pid, signal.SIGCONT)
        for client in clients:
            client.close()
        server.stop(gently=False)
