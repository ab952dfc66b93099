"""Files that trainings and evaluations write: JSON without NaN, and results of finished runs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from streamfx.errors import ConfigError, EvaluationError
from streamfx.whole_files import write_whole

RESULT_FILE = "result.json"
"""Result of one run of a study, in the run's folder."""


class _Outcome(Protocol):
    @property
    def decided_by(self) -> str: ...


AnyOutcome = TypeVar("AnyOutcome", bound=_Outcome)


def json_text(values: Any, indent: int | None = None) -> str:
    """JSON, with null where a number is not finite: NaN is no JSON. It is in ASCII, since file names may be invalid text,
    and a terminal may not support UTF-8."""
    return json.dumps(_finite(values), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, values: Any) -> None:
    """`write_whole` of `json_text`, a value a line."""
    write_whole(path, json_text(values, indent=1) + "\n")


def write_evaluation(out: Path, files: Mapping[str, str]) -> None:
    """Write the texts of an evaluation, by file name, into the folder `out`; EvaluationError where that fails."""
    try:
        for name, text in files.items():
            write_whole(out / name, text + "\n")
    except OSError as error:
        raise EvaluationError(f"cannot write the evaluation into {out}: {error}") from error


def finished(out: Path, kind: type[AnyOutcome], decided_by: str) -> AnyOutcome | None:
    """The outcome of the run in the folder `out` from an earlier call, None if it did not finish.

    ConfigError where another recipe made it, or the file is no such outcome.
    """
    path = out / RESULT_FILE
    if not path.is_file():
        return None
    try:
        outcome = kind(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: expected the result of a run, got something else; remove it") from error
    if outcome.decided_by != decided_by:
        raise ConfigError(
            f"{path}: made by another recipe or other encoders; set run.out to another folder, or remove it"
        )
    return outcome


def spread(shares: Sequence[float | None]) -> str:
    """Mean ± sample standard deviation of those that are known, in percent."""
    known = [100 * share for share in shares if share is not None]
    if not known:
        return ""
    return f"{statistics.fmean(known):.1f}" + (f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else "")
