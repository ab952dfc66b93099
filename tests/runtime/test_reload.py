"""A configuration file that changes during a run: which changes are applied, which are refused, and the messages."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.config_map import ConfigMapFolder

from streamfx.config.tree import Config
from streamfx.pipeline import load_config
from streamfx.runtime.metrics import Metrics
from streamfx.runtime.reload import ConfigFile, changes

KAFKA = {"kafka": {"bootstrap": "broker:9092", "topic": "chunks"}}
BASE: dict[str, Any] = {
    "source": KAFKA,
    "privacy": {"purpose": "test", "deployment_context": "research"},
    "sink": {"path": "out"},
    "runtime": {"engine": "ray", "scaling": {"max_workers": 4}},
}


def tree(**sections: Mapping[str, Any]) -> dict[str, Any]:
    return BASE | {name: {**BASE.get(name, {}), **section} for name, section in sections.items()}


def write(file: Path, config: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(config)))


class Watched:
    """The file with which a run was started, and the counts of reloads since."""

    def __init__(self, file: Path, *overrides: str):
        self._metrics = Metrics()
        self._watched = ConfigFile(file, overrides)

    def look(self) -> Config | None:
        """Poll until a change must have been noticed; return the configuration to apply, if any."""
        found = [self._watched.look(self._metrics.reloads) for _ in range(4)]
        applied = [config for config in found if config is not None]
        assert len(applied) <= 1, "a change must be applied only once"
        return applied[0] if applied else None

    @property
    def counted(self) -> dict[str, float]:
        [family] = self._metrics.reloads.collect()
        totals = [s for s in family.samples if s.name.endswith("_total")]
        return {s.labels["outcome"]: s.value for s in totals if s.value}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "config.yaml", BASE)
    return tmp_path / "config.yaml"


def overwrite(file: Path, config: Mapping[str, Any]) -> None:
    write(file, config)


def rename(file: Path, config: Mapping[str, Any]) -> None:
    write(file.with_suffix(".new"), config)
    os.replace(file.with_suffix(".new"), file)


@pytest.mark.parametrize("change", [overwrite, rename])
def test_a_rewritten_file_is_noticed(file: Path, change: Callable[[Path, Mapping[str, Any]], None]) -> None:
    watched = Watched(file)
    change(file, tree(sink={"roll_chunks": 7}))
    config = watched.look()
    assert config is not None and config.sink.roll_chunks == 7
    assert watched.look() is None
    assert watched.counted == {"applied": 1}


def test_a_swapped_config_map_is_noticed(tmp_path: Path) -> None:
    mounted = ConfigMapFolder(tmp_path / "mounted", BASE)
    watched = Watched(mounted.file)
    mounted.update(tree(serving={"in_flight": 3}))
    config = watched.look()
    assert config is not None and config.serving.in_flight == 3


def test_an_unchanged_file_has_no_effect(file: Path) -> None:
    watched = Watched(file)
    assert watched.look() is None
    file.write_text(f"# a remark\n{file.read_text()}")
    assert watched.look() is None and watched.counted == {}


def test_overrides_of_the_command_line_still_win(file: Path) -> None:
    watched = Watched(file, "sink.roll_chunks=5")
    write(file, tree(sink={"roll_chunks": 7, "roll_event_s": 60}))
    config = watched.look()
    assert config is not None
    assert config.sink.roll_chunks == 5 and config.sink.roll_event_s == 60


def test_a_change_that_needs_a_restart_is_refused_as_a_whole_and_named(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(file)
    write(file, tree(sink={"roll_chunks": 7}, windows={"hop_s": 0.5}, media={"sample_fps": 4}))
    assert watched.look() is None
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "restart" in said and "\n" not in said
    assert "windows.hop_s 1.0 -> 0.5" in said and "media.sample_fps 8.0 -> 4.0" in said and "roll_chunks" not in said
    assert watched.counted == {"refused": 1}
    write(file, tree(sink={"roll_chunks": 7}))
    config = watched.look()
    assert config is not None and config.sink.roll_chunks == 7, (
        "the next change must be compared with the running configuration"
    )


@pytest.mark.parametrize(
    "content",
    ["sink: {path: out, rol_chunks: 3}", "a: [", None],
    ids=["unknown key", "no YAML", "no file"],
)
def test_an_invalid_file_is_reported_once_and_not_applied(
    file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(file)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    assert watched.look() is None
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "the run goes on as it was" in said
    assert watched.counted == {"invalid": 1}
    write(file, tree(sink={"roll_chunks": 7}))
    assert watched.look() is not None


def test_a_half_written_file_is_not_a_change(file: Path) -> None:
    metrics, whole = Metrics(), file.read_text()
    watched = ConfigFile(file)
    file.write_text("sink: {pa")
    assert watched.look(metrics.reloads) is None
    file.write_text(whole)
    for _ in range(2):
        assert watched.look(metrics.reloads) is None
    assert not any(s.value for family in metrics.reloads.collect() for s in family.samples if s.name.endswith("_total"))


def test_bounds_of_scaling_are_live_and_scaling_itself_is_not() -> None:
    base = load_config(BASE)
    [bound] = changes(base, load_config(BASE, ["runtime.scaling.max_workers=9"]))
    assert bound.live and str(bound) == "runtime.scaling.max_workers 4 -> 9"
    [whole] = changes(base, load_config(BASE, ["runtime.scaling=null"]))
    assert not whole.live and whole.path == "runtime.scaling"


def test_no_live_knob_affects_the_rows() -> None:
    base = load_config(BASE)
    live = ["sink.roll_chunks=1", "serving.in_flight=1", "source.queue_chunks=1", "runtime.log_level=debug"]
    changed = load_config(BASE, live)
    assert {change.path for change in changes(base, changed) if change.live} == {item.split("=")[0] for item in live}
    assert changed.config_id == base.config_id
