"""Results beside a model: written whole, kept from call to call, and refused where another recipe made them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from streamfx.errors import ConfigError, EvaluationError
from streamfx.train.results import RESULT_FILE, finished, json_text, spread, write_evaluation, write_json


@dataclass(frozen=True)
class Outcome:
    f1: float
    decided_by: str


def test_an_evaluation_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "out", {"a.json": "{}", "a.md": "a"})
    assert (tmp_path / "out" / "a.json").read_text() == "{}\n" and (tmp_path / "out" / "a.md").read_text() == "a\n"
    with pytest.raises(EvaluationError, match=r"cannot write the evaluation into .*a\.md: "):
        write_evaluation(tmp_path / "out" / "a.md", {"b.json": "{}"})


def test_what_is_no_number_is_null_however_deep_it_lies() -> None:
    values = {
        "f1": float("nan"),
        "by_unit": {"au_01": np.float64("nan"), "au_02": 0.5},
        "mean": [1, (float("inf"), True)],
    }
    assert json.loads(json_text(values), parse_constant=pytest.fail) == {
        "f1": None, "by_unit": {"au_01": None, "au_02": 0.5}, "mean": [1, [None, True]],
    }  # fmt: skip


def test_a_finished_run_is_found_again_and_another_recipes_is_refused(tmp_path: Path) -> None:
    assert finished(tmp_path, Outcome, "a") is None
    write_json(tmp_path / RESULT_FILE, asdict(Outcome(0.5, "a")))
    assert finished(tmp_path, Outcome, "a") == Outcome(0.5, "a")
    with pytest.raises(ConfigError, match=r"result.json: made by another recipe or other encoders; set run.out"):
        finished(tmp_path, Outcome, "b")
    (tmp_path / RESULT_FILE).write_text("{}")
    with pytest.raises(ConfigError, match=r"result.json: expected the result of a run, got something else; remove it"):
        finished(tmp_path, Outcome, "a")


def test_a_spread_is_of_what_is_known() -> None:
    assert spread([0.6, 0.8, None]) == "70.0 ± 14.1"
    assert (spread([0.5]), spread([None])) == ("50.0", "")
