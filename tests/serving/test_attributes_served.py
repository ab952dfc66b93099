"""Attributes behind Triton: the same answers as in the worker, and the frames uploaded once with expression's."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.triton import running_triton

from streamfx.config.serving import Serving
from streamfx.models.attributes import METHODS, AttributesModel
from streamfx.models.expression import ExpressionModel
from streamfx.serving.client import open_model
from streamfx.serving.uploads import Uploads, uploads
from streamfx.testing import window_tensors

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("weights", METHODS.values())
def test_triton_answers_as_the_worker_does_and_frames_are_uploaded_once(weights: str) -> None:
    here = open_model(AttributesModel, weights, Serving())
    with running_triton({"attributes": weights, "expression": "expression-small"}) as url:
        behind = Serving.model_validate({"backend": "triton", "triton": {"url": url}})
        there = open_model(AttributesModel, weights, behind)
        beside = open_model(ExpressionModel, "expression-small", behind)
        assert there.info == here.info
        before = uploads().get(("frames", "shared_memory"), Uploads())
        for seed in range(3):
            tensors = window_tensors(seed)
            asked = [beside.submit(tensors), there.submit({"frames": tensors["frames"]})]
            mine = here.submit({"frames": tensors["frames"]})
            here.flush()
            said = [future.result(60)["logits"] for future in (asked[1], mine)]
            np.testing.assert_allclose(said[0], said[1], atol=1e-4)
            asked[0].result(60)
        after = uploads().get(("frames", "shared_memory"), Uploads())
        assert after.tensors - before.tensors == 3
        for client in (there, beside):
            client.close()
    here.close()
