"""The tuned knobs: all exist in the configuration, none affects rows, and nothing else in the file changes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.cli.config_docs import page
from streamfx.errors import ConfigError
from streamfx.pipeline import load_config
from streamfx.tuning.knobs import KNOBS, defaults_for, knobs_for, setting_of, with_setting
from streamfx.tuning.tune import trial_tree

REPO = Path(__file__).parents[2]
SHIPPED = sorted((REPO / "config").glob("*.yaml"))
TREE: dict[str, Any] = {
    "source": {"files": {"paths": ["a.mp4"], "chunk_s": 1.0}},
    "media": {"sample_fps": 4},
    "faces": {"detect_every": 3},
    "windows": {"hop_s": 0.5},
    "redact": {"preview_dir": "previews"},
    "privacy": {"purpose": "test", "deployment_context": "research", "stream_id_key_env": "KEY", "consent_required": True},
    "sink": {"path": "out", "roll_chunks": 1},
    "tracing": {"endpoint": "http://collector/v1/traces"},
    "dead_letter": {"topic": "bad"},
}  # fmt: skip
BEFORE = setting_of(load_config(TREE))
values = st.fixed_dictionaries({knob.path: st.sampled_from(knob.ladder(8)) for knob in KNOBS})


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Value by dotted path."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, below in tree.items() for k, v in leaves(below, f"{path}.{key}" if path else key).items()}


@settings(deadline=None)
@given(values)
def test_no_knob_changes_the_rows_or_any_other_key(setting: dict[str, float]) -> None:
    before = copy.deepcopy(TREE)
    changed = with_setting(TREE, BEFORE, setting)
    assert before == TREE
    checked = load_config(changed)
    assert checked.config_id == load_config(TREE).config_id
    assert setting_of(checked) == setting
    others = {path: value for path, value in leaves(changed).items() if path not in setting}
    assert others == {path: value for path, value in leaves(TREE).items() if path not in setting}


@settings(deadline=None)
@given(values)
def test_an_unchanged_value_is_not_written(setting: dict[str, float]) -> None:
    changed = leaves(with_setting(TREE, BEFORE, setting))
    assert {path for path in changed if path not in leaves(TREE)} <= {p for p, v in setting.items() if v != BEFORE[p]}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_configurations_use_the_defaults(file: Path) -> None:
    config = load_config(file)
    assert setting_of(config) == defaults_for(config)


def test_a_path_that_is_not_a_knob_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"windows\.hop_s: not a throughput knob"):
        with_setting(TREE, BEFORE, {**BEFORE, "windows.hop_s": 2.0})


def test_with_triton_the_servers_own_knobs_are_not_tuned() -> None:
    config = load_config({**TREE, "serving": {"backend": "triton"}})
    assert {"serving.batch_size", "serving.threads"}.isdisjoint(knob.path for knob in knobs_for(config))


def test_a_trial_has_the_same_rows_and_writes_only_into_its_folder(tmp_path: Path) -> None:
    kafka = {"kafka": {"bootstrap": "broker:9092", "topic": "media"}, "queue_chunks": 3}
    for source in (TREE["source"], kafka):
        trial = load_config(trial_tree({**TREE, "source": source}, tmp_path / "sample", tmp_path, 1))
        assert trial.config_id == load_config(TREE).config_id
        assert trial.source.kafka is None and trial.source.files and trial.source.files.paths == [tmp_path / "sample"]
        assert trial.source.queue_chunks == source.get("queue_chunks", 8)
        assert trial.tracing.endpoint is None and trial.dead_letter.topic is None
        places = [trial.sink.path, trial.dead_letter_path, trial.privacy.stream_id_key_file]
        places.append(Path(trial.operators["redact"].model_dump()["preview_dir"]))
        assert all(place is not None and place.is_relative_to(tmp_path) for place in places)


def tables(text: str) -> dict[str, dict[str, str]]:
    """Rows of all Markdown tables whose first column is `key`, by key, as header -> cell."""
    found: dict[str, dict[str, str]] = {}
    header: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0] == "key":
            header = cells
        elif cells and header and cells[0].startswith("`"):
            found[cells[0].strip("`")] = dict(zip(header, cells, strict=True))
        elif not cells:
            header = []
    return found


def test_the_documented_knobs_have_the_defaults_and_ranges_of_the_code() -> None:
    written, typed = tables((REPO / "docs" / "tuning.md").read_text()), tables(page())
    for path, row in written.items():
        assert row["default"] == typed[path]["default"] and row["range"] == typed[path]["range"], path
        assert row["unit"] and row["effect"]
    tuned = {path for path, row in written.items() if row["tuned"] == "yes"}
    assert tuned == {knob.path for knob in KNOBS}


def test_the_documented_configurations_are_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (REPO / "docs" / "tuning.md").read_text(), re.S)
    for block in blocks:
        load_config({**TREE, "sink": {"path": "out"}, **yaml.safe_load(block)})
