"""The engine itself puts the version of each operator's model into the rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import runs
from streamfx_operators.expression import Expression

from streamfx.config.tree import Config
from streamfx.errors import ModelError, PrivacyRefusal
from streamfx.pipeline import load_config
from streamfx.runtime.build import build_engine


@pytest.fixture
def config(tmp_path: Path, chunks: Path) -> Config:
    return load_config(runs.tree(tmp_path, [chunks]))


def answers(monkeypatch: pytest.MonkeyPatch, **provenance: str) -> None:
    """The operator `expression` names this model from now on."""
    monkeypatch.setattr(Expression, "provenance", lambda self: provenance)


def test_a_line_whose_operators_name_another_model_is_not_opened(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_engine(config, 0, 1)
    engine.new_parts()
    answers(monkeypatch, model="expression-small", model_version="2")
    with pytest.raises(ModelError, match=r"expression: expression-small 2 answers now, and .* start the run again"):
        engine.new_parts()
    answers(monkeypatch)
    with pytest.raises(ModelError, match="expression: no model answers now"):
        engine.new_parts()
    engine.close()


@pytest.mark.parametrize("provenance", [{"model": "m"}, {"model_version": "1"}, {"model": "", "model_version": "1"}])
def test_a_model_without_a_name_or_a_version_is_refused(
    config: Config, monkeypatch: pytest.MonkeyPatch, provenance: dict[str, str]
) -> None:
    answers(monkeypatch, **provenance)
    with pytest.raises(ModelError, match="expression: provenance\\(\\) names no model or no version"):
        build_engine(config, 0, 1)


def test_a_version_that_is_a_sentence_is_refused_at_the_start(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, model="m", model_version="made by Alice")
    with pytest.raises(PrivacyRefusal, match="expression"):
        build_engine(config, 0, 1)


def test_without_a_model_there_is_no_version_column(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    engine = build_engine(config, 0, 1)
    names = [column.name for column in engine.dataset.tables["windows"].columns]
    assert "expression" in names and "expression_model_version" not in names
    engine.close()
