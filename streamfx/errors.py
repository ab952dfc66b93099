"""Every error a user can meet, as one tree.

StreamfxError
├── ConfigError            the configuration is wrong; names the path, what was expected and what came
├── PrivacyRefusal         the privacy rules forbid this run, this row or this picture
├── SourceError            the place chunks come from cannot be used
│   ├── BrokerUnavailable  no Kafka broker answers, or it refuses the login
│   ├── StorageAway        the storage of claim checks fails in a way that may pass
│   └── LogMismatch        the dataset's log and the topic disagree (recreated topic, other cluster)
│       └── InputChanged   a file is not the one that the dataset's log was written from
├── BadChunk               one chunk cannot be used; carries the reason that goes into the `chunks` table
├── MissingComponent       a file or package the product needs is not installed; names the command
├── ModelError             a model cannot be loaded or answers wrongly
│   ├── CheckpointMismatch keys missing, unexpected or of the wrong shape
│   └── ServingUnavailable the model server does not answer in time
├── SinkError              rows cannot be written
│   ├── DatasetMismatch    the dataset belongs to another topic, pipeline or group
│   └── CommitLost         another writer committed this range first; drop state and follow its entry
├── RedactionError         a redacted film cannot be written
├── SurrogateError         a drawn face cannot be painted; the fill stays
├── QueryError             a query of `streamfx sql` is wrong, or would write
├── SynthError             synthetic faces cannot be made or read
├── EvaluationError        pictures or clips to evaluate a model on cannot be used
└── WorkerLost             workers died more often than may be, or their Ray cluster went away
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class StreamfxError(Exception):
    """Base of all errors meant for a user. The message says what was expected, what came, where, and what to do."""


class ConfigError(StreamfxError):
    """A wrong configuration. `problems` holds one full sentence for each wrong path."""

    def __init__(self, message: str, problems: list[str] | None = None):
        super().__init__(message)
        self.problems = problems or [message]


class PrivacyRefusal(StreamfxError):
    """The privacy rules forbid what was asked for."""


class SourceError(StreamfxError):
    """The source of chunks cannot be used."""


class BrokerUnavailable(SourceError):
    """No Kafka broker answers at the configured address, or it refuses us."""


class StorageAway(SourceError):
    """The storage of claim checks fails in a way that may pass; waiting may help."""


class LogMismatch(SourceError):
    """The commit log and the topic do not belong together."""


class InputChanged(LogMismatch):
    """A file, or a folder of chunks, has changed since it was read."""


class BadChunk(StreamfxError):
    """A chunk that cannot be used.

    `fate` is the value for the `chunks` table (`undecodable`, `refused`, `duplicate` or `lost`),
    `reason` a short stable token such as `no_keyframe`, and `detail` a sentence without personal data.
    """

    def __init__(self, reason: str, detail: str, fate: str = "undecodable"):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.fate = fate

    def __reduce__(self) -> tuple[type[BadChunk], tuple[str, str, str]]:
        return BadChunk, (self.reason, self.detail, self.fate)


class MissingComponent(StreamfxError):
    """Something the product needs is not installed; the message holds the command that installs it."""


class ModelError(StreamfxError):
    """A model cannot be loaded, or its answer breaks the contract."""


class CheckpointMismatch(ModelError):
    """A checkpoint's keys or shapes are not those of the architecture; every difference is named."""


class ServingUnavailable(ModelError):
    """The model server does not answer within the configured deadline and retries."""


class SinkError(StreamfxError):
    """Rows cannot be written."""


class DatasetMismatch(SinkError):
    """The dataset at this path belongs to another topic, pipeline or group."""


class CommitLost(SinkError):
    """Another writer won this entry of the log. `head` (streamfx.sink.commit.Head) is where the log now ends."""

    def __init__(self, message: str, head: Any):
        super().__init__(message)
        self.head = head

    def __reduce__(self) -> tuple[type[CommitLost], tuple[str, Any]]:
        return CommitLost, (str(self), self.head)


class WorkerLost(StreamfxError):
    """Workers died more often than allowed, or the Ray cluster that they are in went away."""


class RedactionError(StreamfxError):
    """A redacted film cannot be written; nothing of it was left."""


class SurrogateError(StreamfxError):
    """A drawn face cannot be painted in place of a filled one; the fill stays."""


class QueryError(StreamfxError):
    """A query cannot be answered, or would write."""


class SynthError(StreamfxError):
    """Synthetic faces cannot be made, or a set of them cannot be read."""


class EvaluationError(StreamfxError):
    """Pictures or clips that a model is to be evaluated on cannot be used."""


def did_you_mean(came: object, known: Iterable[str]) -> str:
    """`; did you mean …?` where something known is spelt alike, else nothing; for the end of a message."""
    near = difflib.get_close_matches(str(came), list(known), 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
