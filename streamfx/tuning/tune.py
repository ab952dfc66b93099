"""`streamfx tune`: measure the line over a sample, look for faster settings, and write the better configuration."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from streamfx.config.tree import Config
from streamfx.config.yaml import read_yaml
from streamfx.errors import ConfigError, SourceError, StreamfxError
from streamfx.pipeline import load_config
from streamfx.terminal import printable
from streamfx.tuning.costs import Costs, cores, costs_of
from streamfx.tuning.knobs import Setting, defaults_for, knobs_for, setting_of, with_setting
from streamfx.tuning.measurement import FAILED, Measurement
from streamfx.tuning.sample import Sample, cut_sample
from streamfx.tuning.search import Found, search
from streamfx.tuning.trial import Trials
from streamfx.whole_files import write_whole

MAX_RUNS = 60
EXPLORE = 0.65
"""Share of the budget for exploring; after it, only the found setting is still compared with the start."""
RUNS_IN_A_BUDGET = 25
"""A run is cut off after this part of the budget on any machine; the media it processed by then give its speed."""
SHORTEST_RUN_S = 5.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result. `before` and `after` are the fastest runs of the two settings, `costs` those of the found setting."""

    start: Setting
    found: Found
    before: Measurement
    after: Measurement
    costs: Costs
    config_id: str

    @property
    def changed(self) -> dict[str, tuple[float, float]]:
        """Maps each changed knob to (value before, value after)."""
        after = self.found.setting
        return {path: (value, after[path]) for path, value in self.start.items() if after[path] != value}


def tune(config_file: Path, sample: Sequence[Path], output: Path, budget_s: float, tell: Tell) -> Tuned:
    """Tune the configuration on `sample` (videos or folders of chunks) for about `budget_s` and write it to `output`.

    The file is written unchanged where no setting was faster by more than noise. Rows and `config_id` stay the same.

    `tell` gets lines of progress. Raises ConfigError, SourceError, and errors that stop a line.
    """
    tree, config = read_yaml(config_file), load_config(config_file)
    if output.resolve() == config_file.resolve():
        raise ConfigError(f"--output: {output} is the configuration itself; name another file")
    if output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise ConfigError(
            f"--output: cannot write {output}: its folder does not exist or is not writable; name another file"
        )
    deadline_s = time.monotonic() + budget_s
    with TemporaryDirectory(prefix="streamfx-tune-") as folder:
        tell("cutting the sample into chunks")
        chunk_s = config.source.files.chunk_s if config.source.files else 2.0
        cut = cut_sample(sample, chunk_s, Path(folder), config.media.video_track, config.media.sound_track)
        line = _Line(tree, config, cut, Path(folder), max(SHORTEST_RUN_S, budget_s / RUNS_IN_A_BUDGET), tell)
        tuned = _tune(config, line, deadline_s, budget_s)
    _write(config_file, tree, tuned, output)
    return tuned


def _tune(config: Config, line: _Line, deadline_s: float, budget_s: float) -> Tuned:
    start = setting_of(config)

    def may_explore(runs: int) -> bool:
        return runs < MAX_RUNS * EXPLORE and time.monotonic() < deadline_s - (1 - EXPLORE) * budget_s

    def may_confirm(runs: int) -> bool:
        return runs < MAX_RUNS and time.monotonic() < deadline_s

    found = search(start, defaults_for(config), knobs_for(config), cores(), line.measure, may_explore, may_confirm)
    # The nets alone are timed in a separate run, which takes no part in the comparison.
    last = line.run(found.setting, nets=True)
    runs = {
        key: [trial.measured for trial in found.trials if trial.setting == setting] or [last]
        for key, setting in (("start", start), ("found", found.setting))
    }
    before, after = (max(measured, key=lambda run: run.speed) for measured in (runs["start"], runs["found"]))
    return Tuned(start, found, before, after, costs_of(config, [*runs["found"], last]), config.config_id)


class _Line:
    """Runs the configuration's line over the sample without writing or sending anything to the user's places."""

    def __init__(
        self, tree: Mapping[str, Any], config: Config, sample: Sample, folder: Path, limit_s: float, tell: Tell
    ):
        self._tree, self._config, self._sample, self._folder = tree, config, sample, folder
        self._limit_s, self._tell = limit_s, tell
        self._start = setting_of(config)
        self._trials = Trials(config)
        self._runs = 0

    def measure(self, setting: Setting) -> Measurement:
        """Measure one setting; its speed is 0 if the line cannot run with it. Raises what stops the starting
        setting."""
        try:
            measured = self.run(setting)
        except StreamfxError as error:
            if setting == self._start:
                raise
            self._tell(f"{self._said(setting)}: {error}")
            return FAILED
        self._tell(f"{self._said(setting)}: {measured.speed:.2f} s of media a second, {measured.binds} binds")
        return measured

    def run(self, setting: Setting, nets: bool = False) -> Measurement:
        """Run one setting with a folder of its own."""
        self._runs += 1
        tree = trial_tree(with_setting(self._tree, self._start, setting), self._sample.folder, self._folder, self._runs)
        config = load_config(tree)
        if config.config_id != self._config.config_id:
            raise ConfigError(
                f"a trial would change the rows: expected config_id {self._config.config_id}, got "
                f"{config.config_id}; nothing was written"
            )
        measured = self._trials.run(config, self._sample, self._limit_s, nets)
        if not measured.media_s:
            raise SourceError(
                "no chunk of the sample was processed within the time of a run; try the sample with `streamfx run`"
            )
        return measured

    def _said(self, setting: Setting) -> str:
        changed = [f"{path}={value:g}" for path, value in setting.items() if value != self._start[path]]
        return f"run {self._runs}: " + (", ".join(changed) or "as configured")


def trial_tree(tree: Mapping[str, Any], sample: Path, folder: Path, number: int) -> dict[str, Any]:
    """The configuration tree of one trial: the same line and knobs over the sample, in one process with one worker.

    Everything that a run writes or sends goes to `folder`.
    """
    trial = copy.deepcopy(dict(tree))
    place = folder / f"run-{number}"
    source = {key: value for key, value in trial["source"].items() if key not in ("kafka", "files")}
    trial["source"] = {**source, "files": {"paths": [str(sample)]}}
    trial["sink"] = {key: value for key, value in trial["sink"].items() if key != "s3"} | {"path": str(place / "data")}
    trial["dead_letter"] = {"path": str(place / "dead")}
    trial["runtime"] = {"log_level": "error"}
    trial.pop("tracing", None)
    # The sample belongs to whoever tunes, so consent is not required; chunks whose own headers refuse stay refused.
    trial["privacy"] = {**trial["privacy"], "stream_id_key_file": str(folder / "key"), "consent_required": False}
    trial["privacy"].pop("stream_id_key_env", None)
    pictures = trial.get("redact") or {}
    if pictures.get("preview_dir"):
        trial["redact"] = {**pictures, "preview_dir": str(place / "previews")}
    return trial


def _write(config_file: Path, tree: Mapping[str, Any], tuned: Tuned, output: Path) -> None:
    """Write the file unchanged or with the found knobs; it must load, and produce the same rows."""
    text = config_file.read_text(encoding="utf-8")
    if tuned.changed:
        changed = with_setting(tree, tuned.start, tuned.found.setting)
        checked = load_config(changed)
        if checked.config_id != tuned.config_id:
            raise ConfigError(
                f"the tuned configuration would change the rows: expected config_id {tuned.config_id}, got "
                f"{checked.config_id}; nothing was written"
            )
        day = datetime.now(UTC).date().isoformat()
        name = printable(config_file.name).replace("\n", " ")
        note = f"# {name}, tuned by `streamfx tune` on {day}: {', '.join(tuned.changed)}.\n"
        text = note + yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)
    try:
        write_whole(output, text)
    except OSError as error:
        raise ConfigError(f"--output: cannot write {output}: {error.strerror or error}") from error
