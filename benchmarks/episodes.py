"""Episodes of drawn people whose expressions change, beside the truth: event F1, and how far starts and ends are
off; of expressions and of action units.

The people are those of seeds that no model was trained on. Thresholds were chosen on `--tune`, whose clips are other
people's than those that are reported. Not a timing.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streamfx.columns import EXPRESSION, INACTIVE, SEEN, UNCLEAR
from streamfx.config.episodes import Episodes
from streamfx.config.tree import Config
from streamfx.config.yaml import yaml_text
from streamfx.episodes.measures import columns_of, measures_of
from streamfx.episodes.moments import DAY_US, moments
from streamfx.episodes.stretches import stretches
from streamfx.episodes.table import Order, made
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.pipeline import load_config
from streamfx.privacy.key import load_key
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.runtime.supervisor import run_pipeline
from streamfx.runtime.worker import RunRange
from streamfx.shipped import shipped
from streamfx.sink.place import open_place
from streamfx.sink.read_windows import WindowReader, declared_columns
from streamfx.synth.actions import AUS
from streamfx.synth.head import load_head
from streamfx.synth.story import Part, make_story, write_story
from streamfx.train.au_sets import PRESENT

CLIPS = {"tune": (20_000, 20), "report": (30_000, 60)}
"""First seed, and number of clips, one person each."""
SECONDS = 12.0
"""A clip's last part begins before this."""
SHORTEST_S, LONGEST_S = 2.0, 6.0
FPS, SIZE = 8.0, 176
NO_EPISODE = (SEEN, UNCLEAR, INACTIVE)

START = "2026-01-01T12:00:00Z"
START_US = pd.Timestamp(START).value // 1000


@dataclass(frozen=True)
class Event:
    """One expression from `start_s` to `end_s`, seconds after the clip's start."""

    label: str
    start_s: float
    end_s: float

    def overlap(self, other: Event) -> float:
        """Intersection over union."""
        both = min(self.end_s, other.end_s) - max(self.start_s, other.start_s)
        return max(0.0, both) / (max(self.end_s, other.end_s) - min(self.start_s, other.start_s))


@dataclass(frozen=True)
class Shown:
    """What a clip of `seconds` shows."""

    seconds: float
    events: list[Event]

    def only(self, label: str) -> Shown:
        return Shown(self.seconds, [event for event in self.events if event.label == label])


def drawn_parts(seed: int) -> list[Part]:
    """Expressions, each of another kind than the one before, and how long each is shown."""
    rng = np.random.default_rng([seed, 9])
    parts: list[Part] = []
    while sum(length for _, length in parts) < SECONDS:
        others = [label for label in LABELS_7 if not parts or label != parts[-1][0]]
        parts.append((str(rng.choice(others)), round(float(rng.uniform(SHORTEST_S, LONGEST_S)), 2)))
    return parts


def draw(folder: Path, first: int, number: int) -> None:
    """Draw the clips that are not in the folder yet: `<seed>.mp4`, and beside it what it shows, `<seed>.json`: its parts,
    and the intensity of each action unit in each frame."""
    head = load_head()
    for seed in range(first, first + number):
        if not (folder / f"{seed}.json").exists():
            parts = drawn_parts(seed)
            story = make_story(head, seed, parts, FPS, SIZE)
            video, _ = write_story(story, folder / "_unfinished" / str(seed))
            video.replace(folder / f"{seed}.mp4")
            units = dict(zip(AUS, story.actions.T.round(3).tolist(), strict=True))
            (folder / f"{seed}.json").write_text(json.dumps({"parts": parts, "action_units": units}))


def line_of(folder: Path, dataset: Path, hop_s: float) -> Config:
    """The shipped line over the folder's clips, with action units."""
    clips = sorted(str(path) for path in folder.glob("*.mp4"))
    values = {
        "source.files.paths": clips,
        "source.files.start": START,
        "sink.path": str(dataset),
        "privacy.stream_id_key_file": str(folder / "stream_id.key"),
        "redact.preview_dir": None,
        "windows.hop_s": hop_s,
        "pipeline": ["faces", "windows", "expression", "action_units", "redact"],
    }
    config: Config = load_config(
        shipped("config") / "quickstart.yaml", [f"{key}={yaml_text(of)}" for key, of in values.items()]
    )
    return config


def read_truth(config: Config) -> dict[str, dict[str, Any]]:
    """What was written beside the clips of the run, by the stream's pseudonym."""
    pseudonyms = Pseudonyms(config.privacy.salt_period_s, load_key(config, make=False))
    period = pseudonyms.salt_period(START_US)
    assert config.source.files is not None
    return {
        pseudonyms.stream_pseudonym(Path(clip).stem, period): json.loads(Path(clip).with_suffix(".json").read_text())
        for clip in config.source.files.paths
    }


def expressions_shown(truth: Mapping[str, dict[str, Any]]) -> dict[str, Shown]:
    shown = {}
    for stream, told in truth.items():
        ends = np.cumsum([length for _, length in told["parts"]]).tolist()
        events = [Event(label, end - length, end) for (label, length), end in zip(told["parts"], ends, strict=True)]
        shown[stream] = Shown(ends[-1], events)
    return shown


def units_shown(truth: Mapping[str, dict[str, Any]], least_s: float) -> dict[str, Shown]:
    """Stretches in which a unit's intensity is at least PRESENT, from which it counted as present when the model learned.
    As the rule of episodes has it, a break shorter than `least_s` is none, and neither is an act that is shorter, unless
    the clip cuts it off."""
    shown = {}
    for stream, told in truth.items():
        units = {unit: np.array(course) >= PRESENT for unit, course in told["action_units"].items()}
        seconds = len(units[AUS[0]]) / FPS
        events = [event for unit, acts in units.items() for event in _acts(unit, acts, seconds, least_s)]
        shown[stream] = Shown(seconds, events)
    return shown


def _acts(unit: str, acts: npt.NDArray[np.bool_], seconds: float, least_s: float) -> list[Event]:
    borders = np.flatnonzero(np.diff(acts, prepend=False, append=False)) / FPS
    joined: list[Event] = []
    for start, end in borders.reshape(-1, 2).tolist():
        if joined and start - joined[-1].end_s < least_s:
            start = joined.pop().start_s
        joined.append(Event(unit, start, end))
    return [one for one in joined if one.end_s - one.start_s >= least_s or one.start_s == 0 or one.end_s == seconds]


def found_events(rows: pd.DataFrame) -> dict[str, list[Event]]:
    """Episodes of expressions by their name and of action units by theirs, by stream; seconds after the clip's start."""
    shown = rows[~rows["value"].isin(NO_EPISODE)]
    labels = shown["value"].where(shown["measure"] == EXPRESSION, shown["measure"])
    begin, end = (seconds_of(shown[name]) for name in ("episode_start", "episode_end"))
    found: dict[str, list[Event]] = {}
    for stream, label, start, until in zip(shown["stream_id"], labels, begin, end, strict=True):
        found.setdefault(stream, []).append(Event(label, start, until))
    return found


def seconds_of(times: pd.Series[pd.Timestamp]) -> list[float]:
    us = times.astype("int64") if times.dtype.kind == "i" else times.dt.as_unit("us").astype("int64")
    return ((us - START_US) / 1e6).tolist()


def score(truth: Mapping[str, Shown], found: Mapping[str, list[Event]]) -> dict[str, Any]:
    """Event F1 and borders. A found episode is right if it overlaps a true one of its label for at least half of what
    both cover together (intersection over union), each at most once. Errors are those of the right ones' borders that
    are not the clip's own; a bias is found minus true, so a negative one is early."""
    right = total = of_found = 0
    starts: list[float] = []
    ends: list[float] = []
    for stream, shown in truth.items():
        left = list(found.get(stream, []))
        total, of_found = total + len(shown.events), of_found + len(left)
        for event in shown.events:
            best = max((one for one in left if one.label == event.label), key=event.overlap, default=None)
            if best is None or event.overlap(best) < 0.5:
                continue
            left.remove(best)
            right += 1
            starts += [best.start_s - event.start_s] if event.start_s > 0 else []
            ends += [best.end_s - event.end_s] if event.end_s < shown.seconds else []
    precision, recall = right / max(1, of_found), right / max(1, total)
    return {
        "clips": len(truth),
        "true_episodes": total,
        "found_episodes": of_found,
        "right": right,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        **_border("start", np.array(starts)),
        **_border("end", np.array(ends)),
    }


def _border(name: str, errors: npt.NDArray[np.float64]) -> dict[str, float | None]:
    told = {"error_median": (np.abs(errors), 0.5), "error_p90": (np.abs(errors), 0.9), "bias_median": (errors, 0.5)}
    return {f"{name}_{key}_s": float(np.quantile(of, q)) if len(of) else None for key, (of, q) in told.items()}


def by_unit(truth: Mapping[str, Shown], found: Mapping[str, list[Event]]) -> dict[str, Any]:
    """The score of all units together and of each, and the mean over the units that the truth shows."""
    units = {
        unit: score(
            {stream: shown.only(unit) for stream, shown in truth.items()},
            {stream: [one for one in events if one.label == unit] for stream, events in found.items()},
        )
        for unit in AUS
    }
    true = [one for one in units.values() if one["true_episodes"]]
    keys = ("f1", "start_error_median_s", "end_error_median_s")
    mean = {key: float(np.mean([one[key] for one in true if one[key] is not None])) for key in keys}
    return {"all": score(truth, found), "mean": {"units": len(true), **mean}, "units": units}


def grid(config: Config, truth: Mapping[str, Shown], hop_s: float) -> list[dict[str, Any]]:
    """Every rule of a grid, best first: on windows each speaking for the time around its middle, and on the mean of the
    windows that cover a moment."""
    fs = open_place(config.sink.path)
    measures = measures_of(declared_columns(fs, config.sink.location))[:1]
    reader = WindowReader(fs, config.sink.location)
    windows = pd.concat([reader.read(day, columns_of(measures)) for day in reader.days()], ignore_index=True)
    day_us = START_US - START_US % DAY_US
    results = []
    for name, rows in (("nearest middle", windows), ("mean of covering", mean_of_covering(windows, hop_s))):
        of = moments(rows, day_us)
        for section in sections():
            found = pd.DataFrame(stretches(of, measures, section))
            results.append({"moments": name, "rule": section.rule, **score(truth, found_events(found))})
    return sorted(results, key=lambda one: -one["f1"])


def sections() -> Iterator[Episodes]:
    yield Episodes(smoother="hmm")
    for enter, leave, least_s in product((0.51, 0.6, 0.7, 0.8), (0.2, 0.3, 0.4, 0.5), (0.0, 1.0, 1.5, 2.0)):
        yield Episodes(enter=enter, leave=leave, least_s=least_s)


def mean_of_covering(windows: pd.DataFrame, hop_s: float) -> pd.DataFrame:
    """The other rule for moments: pieces as long as a hop, each with the mean of the windows that cover it."""
    hop = pd.Timedelta(seconds=hop_s)
    number = ((windows["window_end"] - windows["window_start"]) / hop).round().astype(int)
    pieces = windows.loc[windows.index.repeat(number)].copy()
    pieces["window_start"] += pieces.groupby(level=0).cumcount() * hop
    pieces["window_end"] = pieces["window_start"] + hop
    pieces["frames"] = 16
    keys = ["stream_id", "track_id", "window_start", "window_end", "config_id"]
    means = {name: "mean" for name in pieces if str(name).startswith("p_") or name == "expression_novelty"}
    rest = {name: "first" for name in pieces if name not in keys and name not in means}
    pieces = pieces.astype({name: float for name in means})
    return pieces.groupby(keys, as_index=False).agg({**means, **rest})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/bench/episodes"), help="Where clips and datasets are kept."
    )
    parser.add_argument("--hop", type=float, default=1.0, help="Seconds between the starts of windows (windows.hop_s).")
    parser.add_argument(
        "--tune", action="store_true", help="A grid of rules, on the clips that thresholds are chosen on."
    )
    parser.add_argument("--drawn", action="store_true", help="Draw none: only the clips that are there.")
    parser.add_argument("--json", action="store_true", help="As all benchmarks have it; the output is JSON anyway.")
    options = parser.parse_args()
    name = "tune" if options.tune else "report"
    folder = options.out / name
    if not options.drawn:
        draw(folder, *CLIPS[name])
    config = line_of(folder, options.out / f"{name}-{options.hop:g}", options.hop)
    run_pipeline(config, RunRange(), None, threading.Event(), lambda statuses: None)
    truth = read_truth(config)
    about = {"clips_planned": CLIPS[name][1], "first_seed": CLIPS[name][0], "hop_s": options.hop}
    if options.tune:
        print(json.dumps({**about, "grid": grid(config, expressions_shown(truth), options.hop)}, indent=1))
        return
    place = open_place(config.sink.path)
    expressions, units = {}, {}
    for smoother in ("hysteresis", "hmm"):
        section = Episodes(smoother=smoother)
        rows = made(Order(place, config.sink.location, section)).rows
        of_expressions = rows["measure"] == EXPRESSION
        expressions[section.rule] = score(expressions_shown(truth), found_events(rows[of_expressions]))
        acts = found_events(rows[~of_expressions])
        units[section.rule] = {
            f"acts_of_{least_s:g}_s_or_more": by_unit(units_shown(truth, least_s), acts)
            for least_s in (section.least_s, 0.0)
        }
    print(json.dumps({**about, "rules": expressions, "action_units": units}, indent=1))


if __name__ == "__main__":
    main()
