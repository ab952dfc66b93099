"""`streamfx tune` on the real line: it recognises bad settings, names the stage that binds, and writes a file that
gives the same rows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from helpers import runs
from helpers.default_model import default_model
from streamfx_operators.expression import Expression
from streamfx_operators.faces import Faces
from streamfx_operators.redact import Redact
from streamfx_operators.windows import Windows

from streamfx.cli.main import main
from streamfx.config.yaml import read_yaml
from streamfx.errors import ConfigError, SourceError
from streamfx.media.decode import ChunkDecoder
from streamfx.pipeline import load_config
from streamfx.sink.commit import PartitionWriter
from streamfx.source.inputs import find_streams
from streamfx.tuning import trial
from streamfx.tuning.costs import cores
from streamfx.tuning.knobs import setting_of, with_setting
from streamfx.tuning.measurement import STAGES, WAITS, Measurement
from streamfx.tuning.sample import SAMPLE_S, cut_sample
from streamfx.tuning.tables import ADVICE, tune_json, tune_table
from streamfx.tuning.tune import trial_tree, tune

STORY = runs.REPO / "streamfx" / "assets" / "story.mp4"
FAR_TOO_MANY_THREADS = {"serving": {"threads": 64 * cores(), "batch_size": 1, "in_flight": 1}}


def test_every_stage_that_can_bind_has_advice() -> None:
    assert set(ADVICE) == {*STAGES, WAITS}


def test_shares_add_up_and_the_largest_binds() -> None:
    run = Measurement(10.0, 20.0, stage_s={"parse": 0.5, "decode": 1.5, "faces": 3.0, "submit": 1.0, "scores": 3.0})
    assert sum(run.shares.values()) == pytest.approx(1)
    assert run.shares["decode"] == 0.2 and run.shares["inference"] == 0.4 and run.shares[WAITS] == pytest.approx(0.1)
    assert run.binds == "inference" and run.speed == 2


def test_a_short_sample_is_repeated_as_one_stream_with_one_end(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    short = cut_sample([STORY], 5.0, clip)
    (stream,) = find_streams([short.folder], 2.0)
    first = next(iter(stream.chunks()))
    only = tmp_path / "one" / "0"
    only.mkdir(parents=True)
    origin = stream.origin  # type: ignore[attr-defined]
    for seq in (0, 1):
        for suffix in (".json", ".mp4"):
            (only / f"{seq}{suffix}").write_bytes((origin / f"{seq}{suffix}").read_bytes())
    again = cut_sample([only], 2.0, tmp_path / "looped")
    (looped,) = find_streams([again.folder], 2.0)
    chunks = list(looped.chunks())
    assert len(chunks) == again.chunks == 2 * round(SAMPLE_S / 10)
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.start_us - first.start_us for chunk in chunks] == [5_000_000 * n for n in range(len(chunks))]
    assert [dict(chunk.headers).get("streamfx-end") for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert dict(chunks[-1].headers)["streamfx-end"] == b"1"
    assert {chunk.body for chunk in chunks} == {(only / f"{seq}.mp4").read_bytes() for seq in (0, 1)}


def test_the_configuration_itself_is_never_overwritten(tmp_path: Path) -> None:
    file = runs.write_config(tmp_path, runs.tree(tmp_path, [STORY]))
    with pytest.raises(ConfigError, match="is the configuration itself"):
        tune(file, [STORY], file, 1.0, print)


@pytest.mark.parametrize("place", ["absent/tuned.yaml", "."])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path, place: str) -> None:
    file = runs.write_config(tmp_path, runs.tree(tmp_path, [STORY]))
    with pytest.raises(ConfigError, match=r"^--output: cannot write"):
        tune(file, [tmp_path / "absent.mp4"], tmp_path / place, 1.0, print)


@pytest.mark.parametrize("config", [".", "..", "/", "x" * 300])
def test_an_unreadable_configuration_is_a_plain_error(config: str) -> None:
    done = CliRunner().invoke(main, ["tune", config, "--sample", str(STORY)])
    assert done.exit_code == 1 and done.output.startswith("Error: cannot read the configuration")


def test_a_missing_sample_is_named(tmp_path: Path) -> None:
    file = runs.write_config(tmp_path, runs.tree(tmp_path, [STORY]))
    with pytest.raises(SourceError, match="no such file"):
        tune(file, [tmp_path / "absent.mp4"], tmp_path / "tuned.yaml", 1.0, print)


DELAY_S = 0.1
CALLS_OF_STAGES = {
    "decode": (ChunkDecoder, "decode"),
    "faces": (Faces, "track"),
    "windows": (Windows, "add"),
    "redact": (Redact, "observe"),
    "submit": (Expression, "submit"),
    "scores": (Expression, "flush"),
    "commit": (PartitionWriter, "commit"),
}


@pytest.mark.parametrize("stage", CALLS_OF_STAGES)
def test_time_lost_in_a_stage_is_in_that_stages_share(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = CALLS_OF_STAGES[stage]
    call, slept_s = getattr(owner, name), 0.0

    def slower(*arguments: Any, **named: Any) -> Any:
        nonlocal slept_s
        time.sleep(DELAY_S)
        slept_s += DELAY_S
        return call(*arguments, **named)

    monkeypatch.setattr(owner, name, slower)
    monkeypatch.setattr(trial, "_warm", lambda *_: None)
    tree = runs.tree(tmp_path, [STORY])
    sample = cut_sample([STORY], 2.0, tmp_path)
    tree["source"] = {"files": {"paths": [str(sample.folder)]}}
    measured = trial.run_line(load_config(tree), sample, limit_s=2.0)
    assert slept_s > 0
    assert measured.stage_s[stage] >= 0.99 * slept_s
    assert sum(measured.shares.values()) == pytest.approx(1)
    (share,) = (name for name, stages in STAGES.items() if stage in stages)
    assert measured.shares[share] >= 0.99 * slept_s / max(measured.elapsed_s, sum(measured.stage_s.values()))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trial_measures_all_that_a_plan_needs(tmp_path: Path) -> None:
    tree = runs.tree(tmp_path, [STORY])
    sample = cut_sample([STORY], 2.0, tmp_path)
    before = setting_of(load_config(tree))
    asked = trial_tree(with_setting(tree, before, before), sample.folder, tmp_path, 1)
    measured = trial.Trials(load_config(tree)).run(load_config(asked), sample, 10.0, nets=True)
    assert min(measured.media_s, measured.windows, measured.dataset_bytes, measured.peak_bytes, measured.cpu_s) > 0
    assert measured.net_s_per_window is not None and measured.net_s_per_window > 0
    assert measured.model.startswith(default_model())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tune_writes_a_configuration_of_the_same_rows_and_says_what_binds(tmp_path: Path) -> None:
    tree = runs.tree(tmp_path, [STORY], **FAR_TOO_MANY_THREADS)
    file, output = runs.write_config(tmp_path, tree), tmp_path / "better.yaml"
    said: list[str] = []
    tuned = tune(file, [STORY], output, 30.0, said.append)
    assert any("as configured" in line for line in said)
    written, original = read_yaml(output), yaml.safe_load(file.read_text())
    assert load_config(output).config_id == load_config(file).config_id
    assert {key for key in original if written[key] != original[key]} <= {"source", "media", "serving", "sink"}
    assert {path: new for path, (_, new) in tuned.changed.items()}.items() <= setting_of(load_config(output)).items()
    assert tuned.found.ratio > 1 if tuned.changed else output.read_text() == file.read_text()
    table, raw = tune_table(tuned, str(output)), tune_json(tuned, str(output))
    assert f"Before, {tuned.before.binds} binds" in table
    assert json.loads(json.dumps(raw))["costs"]["model"].startswith(default_model())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["better.yaml", "config.yaml", "key"]
