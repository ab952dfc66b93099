"""Environment variables in a configuration: they are inserted before checks, refused if unset, and never shown."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfx.config.yaml import read_yaml
from streamfx.errors import ConfigError
from streamfx.pipeline import load_config
from streamfx.runtime.metrics import Metrics
from streamfx.runtime.reload import ConfigFile
from streamfx.train.recipe import AudioRecipe, load_recipe

BASE: dict[str, Any] = {
    "source": {"files": {"paths": ["a.mp4"]}},
    "privacy": {"purpose": "test", "deployment_context": "research"},
    "sink": {"path": "out"},
}


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(BASE, overrides)
    return caught.value.problems


def test_a_variable_can_stand_in_any_text_and_hold_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/data")
    monkeypatch.setenv("BATCH", "9")
    config = load_config(
        BASE,
        ["sink.path=${DATA_DIR}/rows", "source.files.paths=['${DATA_DIR}/a.mp4']", "serving.batch_size=${BATCH}"],
    )
    assert config.sink.path == Path("/data/rows")
    assert config.source.files is not None and config.source.files.paths == [Path("/data/a.mp4")]
    assert config.serving.batch_size == 9


def test_a_variable_works_in_a_file_and_in_an_operators_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERY", "3")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(BASE | {"faces": {"detect_every": "${EVERY}"}}))
    assert load_config(file).operators["faces"].detect_every == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [None, ""])
def test_a_default_replaces_an_unset_or_empty_variable(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("DATA_DIR", value)
    assert load_config(BASE, ["sink.path=${DATA_DIR:-/var/rows}"]).sink.path == Path("/var/rows")


def test_an_unset_variable_is_an_error_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_DIR", raising=False)
    (problem,) = problems("sink.path=${DATA_DIR}/rows")
    assert problem.startswith("sink.path: the environment variable DATA_DIR is not set")
    assert "${DATA_DIR:-default}" in problem and "$$" in problem


@pytest.mark.parametrize("text", ["$DATA_DIR/rows", "${DATA DIR}", "${}", "${1X}", "a${DATA_DIR"])
def test_a_malformed_variable_is_refused(text: str) -> None:
    (problem,) = problems(f"sink.path='{text}'")
    assert problem.startswith("sink.path: expected an environment variable as ${NAME}")


def test_two_dollar_signs_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "value")
    purpose = load_config(BASE, ["privacy.purpose=$${NAME} and $$5 and 5$"]).privacy.purpose
    assert purpose == "${NAME} and $5 and 5$"


def test_a_variable_in_a_variables_value_is_not_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "${INNER}")
    assert load_config(BASE, ["privacy.purpose=${OUTER}"]).privacy.purpose == "${INNER}"


@pytest.mark.parametrize(
    "key",
    ["serving.batch_size", "runtime.engine", "faces.detect_every", "serving.triton.url", "tracing.endpoint", "media"],
)
def test_no_message_shows_a_variables_value(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    (problem,) = problems(f"{key}=${{TOKEN}}")
    assert problem.startswith(f"{key}: ") and "${TOKEN}" in problem and "hunter2" not in problem


def test_the_same_rows_have_the_same_config_id_however_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOP", "0.5")
    assert load_config(BASE, ["windows.hop_s=${HOP}"]).config_id == load_config(BASE, ["windows.hop_s=0.5"]).config_id


def test_a_change_during_a_run_is_applied_and_logged_without_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SECRET_SIZE", "7")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(BASE))
    watched, metrics = ConfigFile(file), Metrics()
    file.write_text(yaml.safe_dump(BASE | {"serving": {"batch_size": "${SECRET_SIZE}"}}))
    with caplog.at_level(logging.INFO):
        taken = [watched.look(metrics.reloads) for _ in range(3)]
    assert [config.serving.batch_size for config in taken if config] == [7]
    assert "${SECRET_SIZE}" in caplog.text and "-> 7" not in caplog.text


def test_a_recipe_may_use_variables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = read_yaml(Path(__file__).parents[1] / "config" / "train" / "small-audio.yaml")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(shipped | {"run": {"out": "${OUT_DIR}"}}))
    monkeypatch.delenv("OUT_DIR", raising=False)
    with pytest.raises(ConfigError, match=r"run\.out: the environment variable OUT_DIR is not set"):
        load_recipe(AudioRecipe, file)
    monkeypatch.setenv("OUT_DIR", "/out")
    assert load_recipe(AudioRecipe, file).run.out == Path("/out")
