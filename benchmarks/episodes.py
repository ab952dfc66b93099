"""Episodes of drawn people whose expressions change, beside the truth: event F1, and how far starts and ends are off.

The people are those of seeds that no model was trained on. Thresholds were chosen on `--tune`, whose clips are other
people's than those that are reported. Not a timing.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
from streamfx.synth.head import load_head
from streamfx.synth.story import Part, make_story, write_story

CLIPS = {"tune": (20_000, 20), "report": (30_000, 60)}
"""First seed, and number of clips, one person each."""
SECONDS = 12.0
"""A clip's last part begins before this."""
SHORTEST_S, LONGEST_S = 2.0, 6.0
FPS, SIZE = 8.0, 176

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


def drawn_parts(seed: int) -> list[Part]:
    """Expressions, each of another kind than the one before, and how long each is shown."""
    rng = np.random.default_rng([seed, 9])
    parts: list[Part] = []
    while sum(length for _, length in parts) < SECONDS:
        others = [label for label in LABELS_7 if not parts or label != parts[-1][0]]
        parts.append((str(rng.choice(others)), round(float(rng.uniform(SHORTEST_S, LONGEST_S)), 2)))
    return parts


def draw(folder: Path, first: int, number: int) -> None:
    """Draw the clips that are not in the folder yet: `<seed>.mp4`, and beside it its parts, `<seed>.json`."""
    head = load_head()
    for seed in range(first, first + number):
        if not (folder / f"{seed}.json").exists():
            parts = drawn_parts(seed)
            video, _ = write_story(make_story(head, seed, parts, FPS, SIZE), folder / "_unfinished" / str(seed))
            video.replace(folder / f"{seed}.mp4")
            (folder / f"{seed}.json").write_text(json.dumps(parts))


def line_of(folder: Path, dataset: Path, hop_s: float) -> Config:
    """The shipped line over the folder's clips."""
    clips = sorted(str(path) for path in folder.glob("*.mp4"))
    values = {
        "source.files.paths": clips,
        "source.files.start": START,
        "sink.path": str(dataset),
        "privacy.stream_id_key_file": str(folder / "stream_id.key"),
        "redact.preview_dir": None,
        "windows.hop_s": hop_s,
    }
    config: Config = load_config(
        shipped("config") / "quickstart.yaml", [f"{key}={yaml_text(of)}" for key, of in values.items()]
    )
    return config


def read_truth(config: Config) -> dict[str, list[Event]]:
    """What is shown in the clips of the run, by the stream's pseudonym."""
    pseudonyms = Pseudonyms(config.privacy.salt_period_s, load_key(config, make=False))
    period = pseudonyms.salt_period(START_US)
    truth = {}
    assert config.source.files is not None
    for file in sorted(Path(clip).with_suffix(".json") for clip in config.source.files.paths):
        parts = json.loads(file.read_text())
        ends = np.cumsum([length for _, length in parts]).tolist()
        events = [Event(label, end - length, end) for (label, length), end in zip(parts, ends, strict=True)]
        truth[pseudonyms.stream_pseudonym(file.stem, period)] = events
    return truth


def found_events(rows: pd.DataFrame) -> dict[str, list[Event]]:
    """Episodes of one expression, by stream; seconds after the clip's start."""
    shown = rows[(rows["measure"] == "expression") & (rows["value"] != "unclear")]
    begin, end = (seconds_of(shown[name]) for name in ("episode_start", "episode_end"))
    found: dict[str, list[Event]] = {}
    for stream, label, start, until in zip(shown["stream_id"], shown["value"], begin, end, strict=True):
        found.setdefault(stream, []).append(Event(label, start, until))
    return found


def seconds_of(times: pd.Series[pd.Timestamp]) -> list[float]:
    us = times.astype("int64") if times.dtype.kind == "i" else times.dt.as_unit("us").astype("int64")
    return ((us - START_US) / 1e6).tolist()


def score(truth: dict[str, list[Event]], found: dict[str, list[Event]]) -> dict[str, Any]:
    """Event F1 and borders. A found episode is right if it overlaps a true one of its expression for at least half of what
    both cover together (intersection over union), each at most once. Errors are those of the right ones' borders that
    are not the clip's own."""
    right = total = of_found = 0
    starts: list[float] = []
    ends: list[float] = []
    for stream, events in truth.items():
        left = list(found.get(stream, []))
        total, of_found = total + len(events), of_found + len(left)
        for number, event in enumerate(events):
            best = max((one for one in left if one.label == event.label), key=event.overlap, default=None)
            if best is None or event.overlap(best) < 0.5:
                continue
            left.remove(best)
            right += 1
            starts += [abs(best.start_s - event.start_s)] if number else []
            ends += [abs(best.end_s - event.end_s)] if number + 1 < len(events) else []
    precision, recall = right / max(1, of_found), right / max(1, total)
    return {
        "clips": len(truth),
        "true_episodes": total,
        "found_episodes": of_found,
        "right": right,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "start_error_median_s": float(np.median(starts)) if starts else None,
        "end_error_median_s": float(np.median(ends)) if ends else None,
        "start_error_p90_s": float(np.quantile(starts, 0.9)) if starts else None,
        "end_error_p90_s": float(np.quantile(ends, 0.9)) if ends else None,
    }


def grid(config: Config, truth: dict[str, list[Event]], hop_s: float) -> list[dict[str, Any]]:
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
        print(json.dumps({**about, "grid": grid(config, truth, options.hop)}, indent=1))
        return
    place = open_place(config.sink.path)
    results = {}
    for smoother in ("hysteresis", "hmm"):
        section = Episodes(smoother=smoother)
        found = made(Order(place, config.sink.location, section)).rows
        results[section.rule] = score(truth, found_events(found))
    print(json.dumps({**about, "rules": results}, indent=1))


if __name__ == "__main__":
    main()
