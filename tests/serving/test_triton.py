"""Triton against the in-process backend: the same rows, through shared memory and without, across a server's death."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from helpers.default_model import default_model
from helpers.triton import expression_alone, free_ports, require_triton, running_triton
from tritonclient.grpc import service_pb2_grpc

from streamfx.config.serving import Serving
from streamfx.errors import MissingComponent, ModelError, ServingUnavailable
from streamfx.models.card import WEIGHTS_FILE, ModelCard, resolve_model
from streamfx.models.contract import SAME_LOGITS
from streamfx.models.expression import ExpressionModel
from streamfx.serving import triton_server
from streamfx.serving.client import open_model, retune_models
from streamfx.serving.contract import ModelClient
from streamfx.serving.triton_client import TritonBackend
from streamfx.serving.triton_server import LocalTriton, find_venv
from streamfx.serving.uploads import Uploads, uploads
from streamfx.shipped import shipped
from streamfx.testing import window_tensors

SHIPPED = default_model()
SEEDS = range(12)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_triton(repository=expression_alone()) as address:
        yield address


@pytest.fixture(scope="module")
def in_process() -> np.ndarray:  # type: ignore[type-arg]
    client = open_model(ExpressionModel, SHIPPED, Serving())
    answers = ask(client)
    client.close()
    return answers


def behind(url: str, shared_memory: str = "auto", **serving: object) -> Serving:
    return Serving.model_validate(
        {"backend": "triton", "triton": {"url": url, "shared_memory": shared_memory}, **serving}
    )


def ask(client: ModelClient) -> np.ndarray:  # type: ignore[type-arg]
    futures = [client.submit(window_tensors(seed)) for seed in SEEDS]
    return np.array([future.result(120)["logits"] for future in futures])


def by_region() -> int:
    """Number of pictures that have gone through shared memory."""
    return uploads().get(("frames", "shared_memory"), Uploads()).tensors


def our_regions() -> list[Path]:
    return list(Path("/dev/shm").glob(f"streamfx_{os.getpid()}_*"))


@pytest.mark.triton
@pytest.mark.parametrize("shared_memory", ["auto", "off"])
def test_same_rows_as_in_process(url: str, shared_memory: str, in_process: np.ndarray) -> None:  # type: ignore[type-arg]
    client, before = open_model(ExpressionModel, SHIPPED, behind(url, shared_memory)), by_region()
    np.testing.assert_allclose(ask(client), in_process, atol=SAME_LOGITS, rtol=0)
    assert (by_region() > before) == (shared_memory == "auto")
    assert not our_regions(), "no file holds what a region does"
    client.close()


@pytest.mark.triton
def test_the_client_learns_from_the_server_which_weights_answer(url: str, caplog: pytest.LogCaptureFixture) -> None:
    local = open_model(ExpressionModel, SHIPPED, Serving())
    with caplog.at_level(logging.WARNING):
        served = open_model(ExpressionModel, SHIPPED, behind(url))
    assert served.info == local.info
    assert served.info.trained or "untrained" in caplog.text
    local.close()
    served.close()


def other_weights(folder: Path) -> ModelCard:
    """Make `folder` the directory of the default model under another version; the card of the shipped one."""
    directory = resolve_model(SHIPPED)
    card = ExpressionModel.read_card(directory)
    shutil.copy(directory / WEIGHTS_FILE, folder)
    replace(card, version="other-1").save(folder)
    return card


@pytest.mark.triton
def test_other_weights_than_configured_are_refused(url: str, tmp_path: Path) -> None:
    card = other_weights(tmp_path)
    with pytest.raises(ModelError, match=rf"other-1\S* .*serves {SHIPPED} {card.info.version}"):
        open_model(ExpressionModel, str(tmp_path), behind(url))
    elsewhere = open_model(ExpressionModel, "a-model-only-the-server-has", behind(url))
    assert elsewhere.info == card.info
    elsewhere.close()


@pytest.mark.triton
def test_a_request_that_breaks_the_contract_is_not_repeated(url: str) -> None:
    """The server refuses by itself what the client would not even send."""
    backend = TritonBackend(ExpressionModel, behind(url))
    with pytest.raises(ModelError, match=r"expected uint8 \[any, 16, 3, 112, 112\], got uint8 \[1, 16, 3, 64, 64\]"):
        backend.send(window_tensors(0, side=64)).result(60)
    with pytest.raises(ModelError, match="frames"):
        backend.send(window_tensors(0) | {"frames": np.zeros((2, 3, 112, 112), np.uint8)}).result(60)
    assert backend.send(window_tensors(0)).result(60)
    backend.close()


class RefusesSharedMemory(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Newer servers by default: they answer requests, but map no client's memory."""

    def __init__(self, url: str):
        self.server = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(url))
        self.by_value = 0

    def ModelInfer(self, request, context):  # type: ignore[no-untyped-def]
        self.by_value += bool(request.raw_input_contents)
        return self.server.ModelInfer(request)

    def SystemSharedMemoryRegister(self, request, context):  # type: ignore[no-untyped-def]
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "client shared memory is not allowed on this server")


@pytest.mark.triton
def test_where_the_server_refuses_shared_memory_tensors_go_by_grpc(url: str, in_process: np.ndarray) -> None:  # type: ignore[type-arg]
    refusing = RefusesSharedMemory(url)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(refusing, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        client = open_model(ExpressionModel, SHIPPED, behind(f"127.0.0.1:{port}"))
        np.testing.assert_allclose(ask(client), in_process, atol=SAME_LOGITS, rtol=0)
        client.close()
    finally:
        server.stop(None)
    assert refusing.by_value == 1 + len(SEEDS)
    assert not our_regions()


@pytest.mark.triton
@pytest.mark.slow
def test_a_server_killed_in_mid_run_costs_time_and_no_answer(in_process: np.ndarray) -> None:  # type: ignore[type-arg]
    require_triton()
    ports = free_ports()
    server = LocalTriton(ports, repository=expression_alone())
    try:
        client = open_model(ExpressionModel, SHIPPED, behind(server.grpc_url))
        client.submit(window_tensors(SEEDS[0])).result(60)
        # What is asked of a server that stands still is under way when it dies.
        os.killpg(server.pid, signal.SIGSTOP)
        futures = [client.submit(window_tensors(seed)) for seed in SEEDS]
        server.stop(gently=False)
        assert not any(future.done() for future in futures)
        server = LocalTriton(ports, repository=expression_alone())
        answers = np.array([future.result(120)["logits"] for future in futures])
        np.testing.assert_allclose(answers, in_process, atol=SAME_LOGITS, rtol=0)
        client.close()
    finally:
        server.stop(gently=False)
    assert not our_regions()


@pytest.mark.triton
@pytest.mark.slow
def test_a_client_connects_anew_now_and_then_and_loses_no_answer(
    in_process: np.ndarray,  # type: ignore[type-arg]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton_server, "CONNECTION_AGE_MS", 1_000)
    with running_triton(repository=expression_alone()) as address:
        client = open_model(ExpressionModel, SHIPPED, behind(address, retries=0))
        port, seen, give_up = int(address.rpartition(":")[2]), set(), time.monotonic() + 60
        while len(seen) < 3:
            assert time.monotonic() < give_up, (
                "one connection serves for ever: a server that is added would get no work"
            )
            future = client.submit(window_tensors(SEEDS[0]))
            while not future.done():
                connections = psutil.Process().net_connections("tcp")
                seen |= {found.laddr for found in connections if found.raddr and found.raddr.port == port}
            np.testing.assert_allclose(future.result()["logits"], in_process[0], atol=SAME_LOGITS, rtol=0)
        client.close()


@pytest.mark.triton
@pytest.mark.slow
def test_how_long_a_request_is_repeated_may_change_while_it_is(caplog: pytest.LogCaptureFixture) -> None:
    require_triton()
    server = LocalTriton(free_ports(), repository=expression_alone())
    try:
        client = open_model(ExpressionModel, SHIPPED, behind(server.grpc_url, retries=100))
    finally:
        server.stop(gently=False)
    future = client.submit(window_tensors(1))
    while "trying again" not in caplog.text:
        assert not future.done()
        time.sleep(0.05)
    retune_models(behind(server.grpc_url, retries=0))
    with pytest.raises(ServingUnavailable, match="no answer"):
        future.result(60)
    client.close()


@pytest.mark.triton
@pytest.mark.slow
def test_a_server_that_comes_back_with_other_weights_is_an_error(tmp_path: Path) -> None:
    require_triton()
    card = other_weights(tmp_path)
    ports = free_ports()
    server = LocalTriton(ports, repository=expression_alone())
    try:
        client = open_model(ExpressionModel, SHIPPED, behind(server.grpc_url))
        server.stop(gently=False)
        server = LocalTriton(ports, {"expression": str(tmp_path)}, expression_alone())
        with pytest.raises(
            ModelError, match=rf"now serves {SHIPPED} other-1\S*, and served {SHIPPED} {card.info.version}"
        ):
            client.submit(window_tensors(0)).result(60)
        client.close()
    finally:
        server.stop(gently=False)


def test_no_server_is_one_clear_sentence() -> None:
    address = f"127.0.0.1:{free_ports().grpc}"
    with pytest.raises(ServingUnavailable, match=rf"no answer from Triton at {address}.*streamfx triton serve"):
        open_model(ExpressionModel, SHIPPED, behind(address, retries=1))


def test_a_server_that_hangs_is_given_up_at_the_deadline() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with pytest.raises(ServingUnavailable, match="no answer"):
            open_model(ExpressionModel, SHIPPED, behind(f"127.0.0.1:{deaf.getsockname()[1]}", deadline_s=1.0))


@pytest.mark.triton
@pytest.mark.slow
def test_serve_ends_with_its_signal_and_leaves_nothing(tmp_path: Path) -> None:
    require_triton()
    ports = free_ports()
    code = f"import sys; from streamfx.serving.triton_server import Ports, serve; sys.exit(serve({ports!r}))"
    for signum, status in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
        serving = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
        )
        assert serving.stderr is not None
        for line in serving.stderr:
            if line.startswith("Triton is ready"):
                break
        else:
            pytest.fail("the server did not get ready")
        children = psutil.Process(serving.pid).children(recursive=True)
        assert children
        serving.send_signal(signum)
        serving.stderr.close()
        assert serving.wait(60) == status
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        if signum != signal.SIGKILL:
            assert not list(tmp_path.iterdir())


@pytest.mark.triton
def test_wrong_models_are_refused_before_anything_starts(tmp_path: Path) -> None:
    require_triton()
    with pytest.raises(
        ModelError, match=r"no served model nobody .* there are: action_units, ask, attributes, expression"
    ):
        LocalTriton(models={"nobody": SHIPPED})
    with pytest.raises(ModelError, match="no model"):
        LocalTriton(models={"expression": str(tmp_path)})
    with pytest.raises(ModelError, match=r"expected folders with a config\.pbtxt"):
        LocalTriton(repository=tmp_path)


def test_a_missing_environment_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingComponent, match=rf"python3 -m venv {tmp_path}/gone && .*nvidia-pytriton==0\.7\.0"):
        find_venv(tmp_path / "gone")


def test_an_environment_without_the_server_names_what_it_lacks(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    with pytest.raises(MissingComponent, match="lacks torch, safetensors, numpy, pytriton"):
        LocalTriton(venv=tmp_path)


@pytest.mark.triton
@pytest.mark.slow
def test_a_model_process_that_dies_costs_time_and_no_answer(in_process: np.ndarray) -> None:  # type: ignore[type-arg]
    """The server stays up, says that it is ready, and would refuse every request from then on."""
    require_triton()
    ports = free_ports()
    code = (
        "import sys; from pathlib import Path; from streamfx.serving.triton_server import Ports, serve; "
        f"sys.exit(serve({ports!r}, repository=Path({str(expression_alone())!r})))"
    )
    serving = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        client = open_when_served(f"127.0.0.1:{ports.grpc}")
        children = psutil.Process(serving.pid).children(recursive=True)
        stubs = [child for child in children if "triton_python_backend_stub" in child.name()[:15] + child.exe()]
        (model,) = [stub for stub in stubs if any("/expression/" in part for part in stub.cmdline())]
        model.kill()
        np.testing.assert_allclose(ask(client), in_process, atol=SAME_LOGITS, rtol=0)
        client.close()
    finally:
        serving.terminate()
        assert serving.wait(60) == 0


DAMAGED = '''

_Honest = TritonPythonModel


class TritonPythonModel(_Honest):
    """Damages what its first answers say of the model."""

    left = 3

    def _response(self, items, outputs=None):
        honest = self.info
        if self.left:
            self.left -= 1
            self.info = honest[:100] + chr(0) + honest[100:]
        try:
            return super()._response(items, outputs)
        finally:
            self.info = honest
'''


@pytest.mark.triton
def test_a_damaged_answer_is_asked_for_again(
    tmp_path: Path,
    in_process: np.ndarray,
    caplog: pytest.LogCaptureFixture,  # type: ignore[type-arg]
) -> None:
    """Triton was seen to answer so while it started a model's process again."""
    require_triton()
    shutil.copytree(shipped("triton_models"), tmp_path / "models")
    code = tmp_path / "models" / "expression" / "1" / "model.py"
    code.write_text(code.read_text() + DAMAGED)
    server = LocalTriton(free_ports(), repository=tmp_path / "models")
    try:
        with caplog.at_level(logging.WARNING):
            client = open_model(ExpressionModel, SHIPPED, behind(server.grpc_url, retries=5))
        assert "its answer is damaged" in caplog.text
        np.testing.assert_allclose(ask(client), in_process, atol=SAME_LOGITS, rtol=0)
        client.close()
    finally:
        server.stop(gently=False)


def open_when_served(url: str) -> ModelClient:
    give_up = time.monotonic() + 120
    while True:
        try:
            return open_model(ExpressionModel, SHIPPED, behind(url, retries=20))
        except ServingUnavailable:
            assert time.monotonic() < give_up
