"""The audit of a dataset: all questions, and the report that `privacy.audit` reads (`privacy/audited.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from streamfx import __version__
from streamfx.audit.features import group_of
from streamfx.audit.measure import Measured, Unmeasured, measure
from streamfx.audit.published import Published
from streamfx.audit.questions import MOST_WINDOWS, Question, across_salts_question, stream_question, track_question
from streamfx.privacy.audited import FORMAT
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.sink.fs import FileSystem

NO_KEY = (
    "which pseudonyms of different salt periods are one stream, only the key tells; give the configuration (--config), "
    "the raw ids of streams (--stream) and a reason (--why)"
)
ONE_PERIOD = "not enough data: fewer than two of the given streams have windows in two salt periods"


@dataclass(frozen=True, slots=True)
class Links:
    """What leads from streams, by their raw ids, to their pseudonyms in all salt periods."""

    pseudonyms: Pseudonyms
    streams: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What was audited, and the answer to each question by its name."""

    dataset: dict[str, Any]
    columns: dict[str, str]
    model_versions: dict[str, list[str]]
    parts: dict[str, Measured | Unmeasured]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "streamfx": __version__,
            "dataset": self.dataset,
            "most_windows": MOST_WINDOWS,
            "columns": self.columns,
            "model_versions": self.model_versions,
            "parts": {name: part.as_json() for name, part in self.parts.items()},
        }


def audit(fs: FileSystem, place: str, salt_period_s: int | None = None, links: Links | None = None) -> Report:
    """Audit the windows of the dataset at `place`. `salt_period_s` None: not known.

    SinkError if there is no dataset, or a file is damaged; ConfigError for a stream of `links` that no row names.
    """
    published = Published(fs, place)
    tracks = published.tracks()
    period_us = None if salt_period_s is None else salt_period_s * 1_000_000
    questions: dict[str, Question] = {q.name: q for q in (stream_question(tracks, period_us), track_question(tracks))}
    if links is not None:
        linked = across_salts_question(tracks, period_us or 0, links.pseudonyms, links.streams)
        questions[linked.name] = linked
    samples, about = published.samples(list(questions.values()))
    parts: dict[str, Measured | Unmeasured] = {
        name: measure(question, sample, about.columns)
        for (name, question), sample in zip(questions.items(), samples, strict=True)
    }
    if links is None:
        parts["across_salts"] = Unmeasured(NO_KEY)
    elif isinstance(parts["across_salts"], Unmeasured) and questions["across_salts"].there < 2:
        parts["across_salts"] = Unmeasured(ONE_PERIOD)
    dataset = {
        "windows": int(tracks["windows"].sum()),
        "streams": int(tracks["stream_id"].nunique()),
        "tracks": len(tracks),
        "first": _utc(tracks["first_us"].min()) if len(tracks) else None,
        "last": _utc(tracks["last_us"].max()) if len(tracks) else None,
        "config_ids": sorted(about.config_ids),
    }
    versions = {operator: sorted(those) for operator, those in sorted(about.model_versions.items())}
    return Report(dataset, {column: group_of(column) for column in about.columns}, versions, parts)


def _utc(time_us: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time_us))).isoformat(timespec="seconds")
