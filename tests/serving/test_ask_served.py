"""Questions behind Triton: the same answers as in the worker, the questions uploaded once, and a server without the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.ask import TOKENS, ask_model
from helpers.triton import running_triton

from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.ask import ASKED, SCORES, AskModel, words_file
from streamfx.models.expression import ExpressionModel
from streamfx.models.prompt import Prompt
from streamfx.serving.client import open_model
from streamfx.serving.uploads import Uploads, uploads
from streamfx.serving.words import FileWords
from streamfx.testing import make_window

pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")
pytestmark = pytest.mark.triton


def test_triton_answers_as_the_worker_does_and_takes_the_questions_once(tmp_path: Path) -> None:
    weights = str(ask_model(tmp_path / "model"))
    here = open_model(AskModel, weights, Serving())
    prompt = Prompt(FileWords(words_file(here.info, weights), here.info.facts["vocabulary"]), TOKENS)
    few = prompt.request([("Is there a hat?", ("yes", "no"))])
    many = prompt.request([("Is there a hat?", ("yes", "no")), ("Which mood is it?", ("happy", "sad", "neutral"))])
    with running_triton({"ask": weights}) as url:
        there = open_model(AskModel, weights, Serving.model_validate({"backend": "triton", "triton": {"url": url}}))
        assert there.info == here.info
        before = uploads().get((ASKED, "shared_memory"), Uploads())
        for asked in (few, many):
            inputs = [{**AskModel.inputs(make_window(seed, 32), here.info), ASKED: asked} for seed in range(3)]
            said = [[client.submit(one) for one in inputs] for client in (here, there)]
            for mine, theirs in zip(*said, strict=True):
                np.testing.assert_allclose(theirs.result(60)[SCORES], mine.result(60)[SCORES], atol=1e-4)
        after = uploads().get((ASKED, "shared_memory"), Uploads())
        assert after.tensors - before.tensors == 2
        broken = few.copy()
        broken[0, 0] = 10**6
        with pytest.raises(ModelError, match="vocabulary"):
            there.submit({**inputs[0], ASKED: broken}).result(60)
        there.close()
    here.close()


def test_a_server_without_a_model_s_weights_serves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(AskModel, "shelf", tmp_path)
    with running_triton({"expression": "expression-small"}) as url:
        behind = Serving.model_validate({"backend": "triton", "triton": {"url": url}})
        open_model(ExpressionModel, "expression-small", behind).close()
    assert "not served, ask: no model 'ask'" in capfd.readouterr().err
