"""The model contract: what it accepts, and that Triton's configuration says the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from streamfx.errors import ModelError
from streamfx.models.contract import INFO as INFO_OUTPUT
from streamfx.models.contract import ModelInfo
from streamfx.models.expression import ExpressionModel
from streamfx.models.find import find_model, installed_models
from streamfx.serving.contract import config_pbtxt
from streamfx.shipped import shipped
from streamfx.testing import window_tensors

EXPRESSION = ExpressionModel.spec
INFO = ModelInfo("m", "v", ("a", "b"), 112, False)


def test_each_model_that_ships_has_a_triton_folder_whose_config_is_its_spec() -> None:
    own = {name: find_model(name) for name, point in installed_models().items() if point.module.startswith("streamfx.")}
    folders = {path.parent.name: path.read_text() for path in shipped("triton_models").glob("*/config.pbtxt")}
    assert folders == {name: config_pbtxt(model.spec) for name, model in own.items()}
    assert all(name == model.spec.name for name, model in own.items())


def test_triton_reads_the_contract_out_of_the_config() -> None:
    config = text_format.Parse(config_pbtxt(EXPRESSION), model_config_pb2.ModelConfig())
    types = {"UINT8": "TYPE_UINT8", "INT32": "TYPE_INT32", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}
    for own, listed in ((EXPRESSION.inputs, config.input), ((*EXPRESSION.outputs, INFO_OUTPUT), config.output)):
        assert [(t.name, types[t.dtype], list(t.dims)) for t in own] == [
            (t.name, model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in listed
        ]
    assert (config.name, config.backend) == ("expression", "python")
    assert config.max_batch_size == EXPRESSION.max_batch_size
    assert config.dynamic_batching.max_queue_delay_microseconds == EXPRESSION.queue_delay_us


@pytest.mark.parametrize("side", [32, 112, 224])
def test_frames_of_any_size_fit(side: int) -> None:
    EXPRESSION.check_inputs(window_tensors(0, side))


def test_what_breaks_the_contract_is_named() -> None:
    good = window_tensors(0)
    broken = {
        r"got fbank$": {"fbank": good["fbank"]},
        r"got fbank, frames, more": good | {"more": good["fbank"]},
        r"'frames': expected uint8 \[16, 3, any, any\], got float32": good
        | {"frames": good["frames"].astype(np.float32)},
        r"got uint8 \[15, 3, 112, 112\]": good | {"frames": good["frames"][:15]},
        r"'fbank': expected float32 \[1, 512, 128\], got float32 \[512, 128\]": good | {"fbank": good["fbank"][0]},
        r"'fbank': expected finite": good | {"fbank": np.full_like(good["fbank"], np.nan)},
    }
    for message, tensors in broken.items():
        with pytest.raises(ModelError, match=message):
            EXPRESSION.check_inputs(tensors)


@pytest.mark.parametrize(
    "logits", [np.zeros(3, np.float32), np.zeros(2, np.float64), np.array([0, np.inf], np.float32)]
)
def test_answers_that_break_the_contract_are_errors(logits: np.ndarray) -> None:  # type: ignore[type-arg]
    fixed = ExpressionModel.spec_of(INFO)
    fixed.check_outputs({"logits": np.zeros(2, np.float32)})
    with pytest.raises(ModelError, match="output 'logits'"):
        fixed.check_outputs({"logits": logits})
    with pytest.raises(ModelError, match="output 'logits'"):
        fixed.check_outputs({"logits": np.stack([np.zeros_like(logits), logits])}, batched=True)
    with pytest.raises(ModelError, match=r"expected the outputs logits, got none"):
        fixed.check_outputs({})


def test_weights_fix_the_size_of_the_frames() -> None:
    fixed = ExpressionModel.spec_of(INFO)
    fixed.check_inputs(window_tensors(0, 112))
    with pytest.raises(ModelError, match=r"\[16, 3, 112, 112\], got uint8 \[16, 3, 96, 96\]"):
        fixed.check_inputs(window_tensors(0, 96))


def test_info_survives_the_wire() -> None:
    assert ModelInfo.from_json(INFO.to_json()) == INFO
    more = ModelInfo("m", "v", (), None, True, sound=None, facts={"questions": ["is it raining?"]})
    assert ModelInfo.from_json(more.to_json()) == more
    assert "facts" not in INFO.to_json(), "clients from before there were facts would refuse it"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": ["a"]}', '{"labels": 3}', b"\xff"])
def test_foreign_info_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ModelError, match="output 'info'"):
        ModelInfo.from_json(text)


def test_what_a_triton_model_imports_needs_no_pydantic() -> None:
    """Its environment is installed with --no-deps."""
    code = (
        "import sys, types; sys.modules['triton_python_backend_utils'] = types.ModuleType('pb');"
        "import streamfx.serving.triton_model, streamfx.models.find;"
        "[streamfx.models.find.find_model(name) for name in streamfx.models.find.installed_models()];"
        "print([m for m in ('pydantic', 'yaml', 'grpc', 'tritonclient', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
