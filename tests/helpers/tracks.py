"""Datasets of tracks whose scores change from window to window, written by the sink's own writer, for tests of episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset
from helpers.crowds import DAY_US, START_US, Shown, commit

from streamfx.columns import Column
from streamfx.config.episodes import Episodes
from streamfx.episodes.table import Order
from streamfx.records import MICROSECONDS
from streamfx.sink.fs import FileSystem, LocalFileSystem

LABELS = ("anger", "happiness", "neutral")
COLUMNS = (
    *(Column(f"p_{label}", "float", "Its probability") for label in LABELS),
    Column("expression", "category", "The likeliest expression", LABELS),
    Column("expression_confidence", "float", "Its probability"),
    Column("expression_novelty", "float", "How far the face is from what is known"),
    Column("au_12", "float", "Intensity"),
    Column("au_12_present", "bool", "Whether it acts"),
)


@dataclass(frozen=True)
class Track:
    """One track whose windows of two seconds start each second. `shows` has a letter for each: `h`, `a` and `n` are sure of
    an expression, `H` and `A` hardly, `u` of none, `x` is a novel face, `.` is no window. `smiles` has the intensity of
    au_12 of each, which acts from 1 on; None where it is null."""

    shows: str
    number: int = 0
    start_us: int = START_US
    stream: str = "hall"
    smiles: Sequence[float | None] = ()


_SURE = {
    "h": (0.05, 0.9, 0.05),
    "a": (0.9, 0.05, 0.05),
    "n": (0.05, 0.05, 0.9),
    "H": (0.2, 0.5, 0.3),
    "A": (0.5, 0.2, 0.3),
}


def write(
    place: Path | str,
    tracks: Iterable[Track],
    fs: FileSystem | None = None,
    offset: int = 0,
    config_id: str = "c1",
    films: Iterable[tuple[str, int, int]] = (),
) -> None:
    """Commit these tracks to the dataset, made if it is absent, as one record from `offset` on; `films` as in `commit`."""
    commit(
        place,
        (shown for track in tracks for shown in _shown(track)),
        COLUMNS,
        fs,
        offset,
        config_id,
        {"expression": "v1"},
        films,
    )


def _shown(track: Track) -> Iterator[Shown]:
    for second, letter in enumerate(track.shows):
        if letter != ".":
            scores = _scores(letter, track.smiles[second : second + 1])
            start_us = track.start_us + second * MICROSECONDS
            yield Shown(track.stream, track.start_us // DAY_US, track.number, start_us, scores)


def _scores(letter: str, smile: Sequence[float | None]) -> dict[str, Any]:
    likely = _SURE.get(letter, (0.3, 0.3, 0.4))
    best = max(range(len(LABELS)), key=lambda at: likely[at])
    scores: dict[str, Any] = {f"p_{label}": p for label, p in zip(LABELS, likely, strict=True)}
    scores |= {"expression": LABELS[best], "expression_confidence": likely[best]}
    scores["expression_novelty"] = 0.9 if letter == "x" else 0.1
    for much in smile:
        scores |= {} if much is None else {"au_12": much, "au_12_present": much >= 1}
    return scores


def order(place: Path | str, fs: FileSystem | None = None, **fields: Any) -> Order:
    """An order for all of the dataset, with these fields of the section."""
    section = Episodes.model_validate({"least_s": 0.0, **fields})
    return Order(fs or LocalFileSystem(Path(place)), str(place), section)


def table(place: Path) -> list[dict[str, Any]]:
    """The rows that a reader's glob finds, by measure and time."""
    files = [str(path) for path in (place / "episodes").rglob("*.parquet")]
    rows: list[dict[str, Any]] = pyarrow.dataset.dataset(files).to_table().to_pylist() if files else []
    return sorted(rows, key=lambda row: (row["stream_id"], row["track_id"], row["measure"], row["episode_start"]))


def said(rows: Iterable[dict[str, Any]], measure: str = "expression") -> list[tuple[str, float, float]]:
    """What is said of a measure: value, and start and end in seconds after START_US."""
    return [
        (
            row["value"],
            row["episode_start"].timestamp() - START_US / 1e6,
            row["episode_end"].timestamp() - START_US / 1e6,
        )
        for row in rows
        if row["measure"] == measure
    ]
