"""A model with the expert gives the same answers in this process, behind Triton, and as an ONNX graph; a server without
the expert's weights serves the other model, and its clients take that."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from helpers.expert import expert_model, require_face_api, take_face_api_away
from helpers.triton import expression_alone, free_ports, require_triton
from tritonclient.grpc import model_config_pb2

from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.contract import SAME_LOGITS, Answer, ModelInfo
from streamfx.models.expression import ExpressionModel
from streamfx.models.find import load_model
from streamfx.serving.client import open_model
from streamfx.serving.contract import ModelClient
from streamfx.serving.triton_server import LocalTriton, _find_server, _lay_out
from streamfx.shipped import shipped
from streamfx.testing import window_tensors
from streamfx.train.export import export_onnx

SEEDS = range(6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    require_face_api()
    return str(expert_model(tmp_path_factory.mktemp("models") / "with-expert"))


def behind(url: str, shared_memory: str = "auto") -> Serving:
    return Serving.model_validate({"backend": "triton", "triton": {"url": url, "shared_memory": shared_memory}})


def ask(client: ModelClient) -> list[Answer]:
    """Answers to some windows, asked together; the client is closed."""
    futures = [client.submit(window_tensors(seed)) for seed in SEEDS]
    answers = [future.result(120) for future in futures]
    client.close()
    return answers


def assert_same(first: list[Answer], second: list[Answer]) -> None:
    for one, other in zip(first, second, strict=True):
        for name in ("logits", "novelty"):
            np.testing.assert_allclose(one[name].astype(float), other[name].astype(float), atol=SAME_LOGITS, rtol=0)


@pytest.fixture(scope="module")
def in_process(model: str) -> list[Answer]:
    return ask(open_model(ExpressionModel, model, Serving(batch_size=4)))


@pytest.fixture(scope="module")
def url(model: str) -> Iterator[str]:
    """A server of the model on a machine that has the expert's weights."""
    require_triton()
    server = LocalTriton(free_ports(), {"expression": model}, expression_alone())
    yield server.grpc_url
    server.stop(gently=False)


@pytest.fixture
def poor_url(model: str, tmp_path: Path) -> Iterator[str]:
    """A server that is set to the model, and lacks the expert's weights."""
    require_triton()
    shutil.copytree(shipped("triton_models") / "expression", tmp_path / "repository" / "expression")
    config = tmp_path / "repository" / "expression" / "config.pbtxt"
    config.write_text(config.read_text().replace(ExpressionModel.spec.default_weights, model))
    with pytest.MonkeyPatch.context() as patch:
        take_face_api_away(patch, tmp_path / "nothing-here")
        server = LocalTriton(free_ports(), repository=tmp_path / "repository")
    yield server.grpc_url
    server.stop(gently=False)


def test_batched_answers_equal_single_ones(model: str, in_process: list[Answer]) -> None:
    alone = ask(open_model(ExpressionModel, model, Serving(batch_size=1)))
    assert_same(alone, in_process)
    assert all(answer["novelty"].shape == (1,) for answer in alone)


@pytest.mark.triton
@pytest.mark.parametrize("shared_memory", ["auto", "off"])
def test_a_server_gives_the_same_logits_and_novelty(
    model: str, url: str, in_process: list[Answer], shared_memory: str
) -> None:
    client = open_model(ExpressionModel, model, behind(url, shared_memory))
    assert client.info == load_model(Path(model)).info
    assert_same(ask(client), in_process)


@pytest.mark.triton
def test_a_client_without_the_weights_gets_the_servers_answers(
    model: str, url: str, in_process: list[Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_face_api_away(monkeypatch, tmp_path)
    assert_same(ask(open_model(ExpressionModel, model, behind(url))), in_process)


@pytest.mark.triton
def test_a_server_without_the_weights_serves_the_other_model_and_the_client_says_so(
    model: str, poor_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        client = open_model(ExpressionModel, model, behind(poor_url))
    assert "lacks weights that with-expert needs, and serves expression-small instead" in caplog.text
    assert client.info.name == "expression-small"
    other = ask(open_model(ExpressionModel, "expression-small", Serving()))
    for served, known in zip(ask(client), other, strict=True):
        assert np.abs(served["logits"].astype(float) - known["logits"].astype(float)).max() <= SAME_LOGITS
        assert set(served) == {"logits"}


@pytest.mark.triton
def test_what_is_neither_the_model_nor_the_one_instead_is_refused(poor_url: str, tmp_path: Path) -> None:
    for instead in ("expression-tiny", "nobody", None):
        model = expert_model(tmp_path / str(instead), instead=instead)
        with pytest.raises(ModelError, match=r"expected the model with-expert 1, .* serves expression-small"):
            open_model(ExpressionModel, str(model), behind(poor_url))


def test_the_server_is_told_where_the_weights_of_others_lie(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other model is chosen before the server starts, where the directory is named and lacks them."""
    require_triton()
    _, facts = _find_server(None)
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    (tmp_path / "layout").mkdir()
    environment = _lay_out(tmp_path / "layout", [shipped("triton_models")], {"expression": model}, facts)
    assert environment["STREAMFX_OUTSIDE_WEIGHTS"] == str(tmp_path / "nothing-here")
    assert Path(environment["STREAMFX_MODEL_EXPRESSION"]).name == "expression-small"


def exported(model: str, out: Path) -> tuple[onnxruntime.InferenceSession, model_config_pb2.ModelConfig]:
    assert export_onnx(model, out) <= SAME_LOGITS
    config = text_format.Parse((out / "expression" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    return onnxruntime.InferenceSession(out / "expression" / "1" / "model.onnx"), config


def test_the_exported_graph_gives_the_same_logits_and_novelty(
    model: str, in_process: list[Answer], tmp_path: Path
) -> None:
    session, config = exported(model, tmp_path / "repository")
    assert [output.name for output in session.get_outputs()] == ["logits", "novelty", "info"]
    assert [(one.name, list(one.dims)) for one in config.output] == [("logits", [7]), ("novelty", [1]), ("info", [1])]
    windows = [window_tensors(seed) for seed in SEEDS]
    inputs = {name: np.stack([window[name] for window in windows]) for name in windows[0]}
    logits, novelty, info = session.run(["logits", "novelty", "info"], inputs)
    assert_same([{"logits": a, "novelty": b} for a, b in zip(logits, novelty, strict=True)], in_process)
    assert {ModelInfo.from_json(text).name for text in info[:, 0]} == {"with-expert"}


def test_the_graph_of_a_model_that_tells_no_novelty_has_no_such_output(tmp_path: Path) -> None:
    session, config = exported("expression-small", tmp_path / "repository")
    assert [output.name for output in session.get_outputs()] == ["logits", "info"]
    assert [output.name for output in config.output] == ["logits", "info"]


def test_without_the_weights_the_other_model_is_exported(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    session, _ = exported(model, tmp_path / "repository")
    assert [output.name for output in session.get_outputs()] == ["logits", "info"]
    assert "expression-small is taken instead" in caplog.text
