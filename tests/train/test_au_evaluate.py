"""`streamfx evaluate` with a model for action units: the recipe's measures over a drawn set, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.action_units import UNITS, action_units_model
from helpers.training import write_set

from streamfx.cli.evaluate import evaluate
from streamfx.errors import EvaluationError
from streamfx.models.card import CARD_FILE
from streamfx.train.au_evaluate import evaluate_action_units


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "set", clips=4)


def run(drawn: Path, tmp_path: Path, *more: str, novelty: bool = True) -> Result:
    model = action_units_model(tmp_path / "model", novelty=novelty)
    where = ["--model", str(model), "--cache", str(drawn.parent / "cache")]
    return CliRunner().invoke(evaluate, [*where, *(more or ("--set", str(drawn)))])


def test_the_report_is_that_of_the_recipe_as_json(drawn: Path, tmp_path: Path) -> None:
    outcome = run(drawn, tmp_path, "--set", str(drawn), "--json", "--out", str(tmp_path / "out"))
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout, parse_constant=pytest.fail)
    assert report == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (report["model"], report["model_version"], report["set"]) == ("units-for-tests", "1", str(drawn))
    for part in ("all", "not_novel"):
        assert report[part]["frames"] == 16 and report[part]["f1_at_calibrated"]["windows"] == 4
        for measure in ("f1_at_calibrated", "f1_at_half", "f1_at_best_single", "icc_3_1"):
            assert set(report[part][measure]["by_unit"]) == set(UNITS)
            assert len(report[part][measure]["mean"]) == len(report[part][measure]["mean_without_rare"]) == 3
    assert report["windows"]["null"] == 0.0


def test_the_text_has_a_line_for_each_unit_and_the_means(drawn: Path, tmp_path: Path) -> None:
    said = run(drawn, tmp_path).output
    assert said.startswith(f"units-for-tests 1 on {drawn}\nall: 16 frames of 4 people; the best single threshold is 0.")
    assert "not novel: 16 frames of 4 people" in said
    assert "F1, own: of windows as in the line, at the card's thresholds" in said
    assert [line.split()[0] for line in said.splitlines() if line.startswith("au_")] == list(UNITS)
    assert "mean, without rare (" in said and "(95 % over people: " in said


def test_a_model_without_novelty_has_no_second_part(drawn: Path, tmp_path: Path) -> None:
    said = run(drawn, tmp_path, novelty=False).output
    assert "not novel" not in said and "null in the line" not in said and "all: 16 frames" in said


def test_other_sources_are_refused(drawn: Path, tmp_path: Path) -> None:
    outcome = run(drawn, tmp_path, "--stills", str(tmp_path))
    assert outcome.exit_code == 2 and "action units is measured over --set, not over --stills" in outcome.output


def test_units_that_nobody_drew_are_refused(drawn: Path, tmp_path: Path) -> None:
    model = action_units_model(tmp_path / "model", intensities=0, novelty=False)
    card = json.loads((model / CARD_FILE).read_text())
    (model / CARD_FILE).write_text(json.dumps(card | {"labels": ["au_01", "au_28", "au_12"]}))
    with pytest.raises(EvaluationError, match=r"expected units that drawings have \(au_01, .*\), got au_28"):
        evaluate_action_units(model, drawn, tmp_path / "cache")
