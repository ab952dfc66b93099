"""The column `expression_novelty`: there for models that tell it, and gone where another model is taken instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.expert import expert_model, require_face_api, take_face_api_away
from streamfx_operators.expression import Expression

from streamfx.cli.main import main
from streamfx.config.serving import Serving
from streamfx.errors import ConfigError, MissingComponent
from streamfx.pipeline import load_config
from streamfx.runtime.preflight import check, refuse
from streamfx.serving.client import open_model
from streamfx.testing import make_context, make_window


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return expert_model(tmp_path / "with-expert")


@contextmanager
def opened(model: str | Path) -> Iterator[Expression]:
    context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
    operator = Expression(Expression.Config(model=str(model)), context)
    try:
        yield operator
    finally:
        operator.close()


def config(folder: Path, model: Path, **serving: Any) -> dict[str, Any]:
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_bytes(b"k" * 32)
    return {
        "source": {"files": {"paths": [str(folder)]}},
        "privacy": {"purpose": "test", "deployment_context": "research", "stream_id_key_file": str(folder / "key")},
        "sink": {"path": str(folder / "out")},
        "expression": {"model": str(model)},
        "serving": serving,
    }


def test_a_model_that_tells_novelty_has_a_column_for_it(model: Path) -> None:
    require_face_api()
    with opened(model) as operator:
        column = operator.columns[-1]
        assert (column.name, column.kind) == ("expression_novelty", "float")
        scored = [operator.submit(make_window(seed)) for seed in range(3)]
        for values in (future.result(60) for future in scored):
            assert set(values) == {column.name for column in operator.columns}
            assert 0 <= values["expression_novelty"] <= 1
            shares = [value for name, value in values.items() if name.startswith("p_")]
            assert sum(shares) == pytest.approx(1, abs=1e-3)
            assert values["expression_confidence"] == max(shares)


def test_a_model_that_tells_none_has_no_such_column() -> None:
    with opened("expression-small") as operator:
        assert "expression_novelty" not in [column.name for column in operator.columns]
        assert "expression_novelty" not in operator.submit(make_window(1)).result(60)


def test_where_another_model_is_taken_the_rows_name_it_and_have_its_columns(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    with opened(model) as operator, opened("expression-small") as other:
        assert operator.columns == other.columns
        assert operator.provenance() == other.provenance()
    assert "expression-small is taken instead" in caplog.text


def test_without_another_model_the_error_names_the_setting_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = expert_model(tmp_path / "alone", instead=None)
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
    with pytest.raises(MissingComponent, match=r"^expression\.model: with-expert needs .*`streamfx models fetch`"):
        Expression(Expression.Config(model=str(model)), context)


def test_a_check_warns_and_names_the_command_where_another_model_is_taken(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    report = check(load_config(config(tmp_path, model)))
    (said,) = [finding for finding in report.of("warning") if finding.startswith("expression.model: ")]
    assert "`streamfx models fetch`" in said and "expression-small is taken instead" in said
    assert not [one for kind in ("wrong", "missing") for one in report.of(kind) if one.startswith("expression.model")]
    file = tmp_path / "config.yaml"
    file.write_text(str(config(tmp_path, model)))
    assert "streamfx models fetch" in CliRunner().invoke(main, ["config", "check", str(file)]).output


def test_a_check_with_the_weights_finds_nothing(model: Path, tmp_path: Path) -> None:
    require_face_api()
    report = check(load_config(config(tmp_path, model)), deep=True)
    assert not [str(finding) for finding in report.findings if finding.path == "expression.model"]


@pytest.mark.parametrize(
    ("instead", "said"), [(None, "`streamfx models fetch`"), ("nobody", "nobody cannot be taken instead: no model")]
)
def test_a_check_finds_that_no_model_can_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: str | None, said: str
) -> None:
    model = expert_model(tmp_path / "alone", instead=instead)
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    loaded = load_config(config(tmp_path, model))
    (found,) = check(loaded, deep=True).of("missing")
    assert found.startswith("expression.model: with-expert needs weights") and said in found
    with pytest.raises(ConfigError, match="streamfx models fetch"):
        refuse(loaded)


def test_behind_triton_this_machine_needs_no_weights(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_face_api_away(monkeypatch, tmp_path / "nothing-here")
    report = check(load_config(config(tmp_path, model, backend="triton")))
    assert not [str(finding) for finding in report.findings if finding.path == "expression.model"]


def test_a_card_that_cannot_be_read_is_wrong_and_not_missing(model: Path, tmp_path: Path) -> None:
    (model / "model.json").write_text("[]")
    report = check(load_config(config(tmp_path, model)))
    found = [finding for finding in report.findings if finding.path == "expression.model"]
    assert [finding.kind for finding in found] == ["wrong"] and "expected a JSON object" in found[0].text, found
