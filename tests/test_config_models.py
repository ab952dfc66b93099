"""`serving.models`: settings of serving for one model, checked by path against the models that the pipeline asks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from streamfx.cli.config_docs import page
from streamfx.config.serving import Serving
from streamfx.errors import ConfigError
from streamfx.models.expression import ExpressionModel
from streamfx.pipeline import json_schema, load_config
from streamfx.runtime.preflight import check, refuse
from streamfx.runtime.reload import changes
from streamfx.serving.client import open_model, retune_models
from streamfx.testing import window_tensors

TINY = "expression-tiny"


def tree(folder: Path, models: Any = None) -> dict[str, Any]:
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(b"k" * 32)
    return {
        "source": {"files": {"paths": [str(folder)]}},
        "privacy": {"purpose": "test", "deployment_context": "research", "stream_id_key_file": str(key)},
        "sink": {"path": str(folder / "out")},
        "serving": {} if models is None else {"models": models},
    }


def test_what_a_model_says_goes_before_the_rest() -> None:
    serving = Serving.model_validate(
        {"deadline_s": 9, "retries": 5, "models": {"expression": {"deadline_s": 2, "in_flight": 3}}}
    )
    own, other = serving.for_model("expression"), serving.for_model("light")
    assert (own.deadline_s, own.in_flight, own.retries, own.batch_size) == (2, 3, 5, serving.batch_size)
    assert (other.deadline_s, other.in_flight) == (9, serving.in_flight)
    assert own.for_model("expression") == own and own.backend == serving.backend


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"expression": {"deadline": 3}}, "serving.models.expression.deadline: unknown key; expected one of deadline_s, "),
        ({"expression": {"retries": -1}}, "serving.models.expression.retries: expected a number greater than or equal to 0"),
        ({"expression": {"in_flight": True}}, "serving.models.expression.in_flight: expected a number"),
        ({"expression": {"in_flight": "4x"}}, "serving.models.expression.in_flight: expected a whole number"),
        ({"expression": 5}, "serving.models.expression: expected a section with some of the keys deadline_s, batch_size"),
        ({"expression": {"device": "cpu"}}, "did you mean 'serving.device'"),
        (["expression"], "serving.models: expected a section, got a list"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_path(tmp_path: Path, models: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tree(tmp_path, models))
    assert len(caught.value.problems) == 1 and said in caught.value.problems[0], caught.value.problems


def test_a_model_that_nobody_asks_is_refused_by_its_path(tmp_path: Path) -> None:
    config = load_config(tree(tmp_path, {"expresion": {"retries": 1}, "expression": {"retries": 1}}))
    said = (
        "serving.models.expresion: no operator of the pipeline asks a served model 'expresion'; they ask: expression; "
        "did you mean 'expression'?"
    )
    assert said in check(config).of("wrong")
    with pytest.raises(ConfigError) as caught:
        refuse(config)
    assert caught.value.problems == [said]
    refuse(load_config(tree(tmp_path, {"expression": {"retries": 1}})))


def test_it_takes_a_restart_and_decides_no_row(tmp_path: Path) -> None:
    base = load_config(tree(tmp_path, {"expression": {"retries": 1}}))
    [change] = changes(base, load_config(tree(tmp_path, {"expression": {"retries": 2}})))
    assert (change.path, change.live) == ("serving.models.expression.retries", False)
    [added] = changes(load_config(tree(tmp_path)), base)
    assert (added.path, added.live) == ("serving.models.expression", False)
    assert base.config_id == load_config(tree(tmp_path)).config_id
    overridden = load_config(tree(tmp_path), ["serving.models.expression.retries=2"])
    assert overridden.serving.models["expression"].retries == 2


def test_the_page_and_the_schema_show_it() -> None:
    assert "| `serving.models.NAME.in_flight` | whole number | none | ≥ 1, ≤ 1024 |  |" in page()
    assert "in_flight" in json_schema()["$defs"]["ModelServing"]["properties"]


def test_a_live_key_changes_only_models_that_do_not_have_it_of_their_own() -> None:
    def serving(**changes: Any) -> Serving:
        return Serving.model_validate({"models": {"expression": {"in_flight": 2}}} | changes)

    before, clients = threading.active_count(), [open_model(ExpressionModel, TINY, serving(in_flight=9))]
    try:
        retune_models(serving(in_flight=7))
        clients.append(open_model(ExpressionModel, TINY, serving(in_flight=5)))
        assert threading.active_count() == before + 1, "they share one net"
        futures, open_at_once = [], []
        for seed in range(6):
            futures.append(clients[seed % 2].submit(window_tensors(seed)))
            open_at_once.append(sum(not future.done() for future in futures))
        assert max(open_at_once) <= 2
        assert all(future.result(60) for future in futures)
    finally:
        for client in clients:
            client.close()
