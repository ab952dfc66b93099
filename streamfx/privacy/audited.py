"""Which columns may leave, by what an audit of published rows measured of them (`privacy.audit`).

`streamfx audit --out DIR` writes the report. The rule, in the order in which it is checked:

1. The report can be read, and is one.
2. It measured the columns that this run would write, filled by the same versions of the models. What was not measured
   does not leave.
3. In each part that was measured (stream, track, across salts) the lift of the columns' group, alone, ends below the
   limit: what counts is the upper end of the interval of the better probe, so that too few rows never let a column
   pass.

The engine's own columns (times, the face's size, quality) are in every row, so no run can leave them out: of those, a run
is warned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamfx.columns import CORE_COLUMNS, Column
from streamfx.config.privacy import PrivacySection
from streamfx.errors import PrivacyRefusal

FORMAT = "streamfx audit 1"
_AGAIN = "give the audit.json that `streamfx audit DATASET --out DIR` wrote of a dataset with these columns"
_Share = Annotated[float, Field(ge=-1, le=1)]


class _Group(BaseModel):
    lift: Annotated[dict[str, tuple[_Share, _Share, _Share]], Field(min_length=1)]
    """Kind of probe -> lift over chance, and both ends of its interval."""


class _Part(BaseModel):
    measured: bool
    groups: dict[str, _Group] = {}


class Audit(BaseModel):
    """What this rule reads of a report; a report says more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    format: Literal["streamfx audit 1"]
    columns: dict[str, str]
    """Column -> its group."""
    model_versions: dict[str, list[str]]
    """Operator -> the versions of its model in the audited rows."""
    parts: dict[str, _Part]

    def highest(self, column: str) -> tuple[float, str] | None:
        """The highest upper end among all parts and probes of the column's group, and its part; None: not measured."""
        group, measured = self.columns.get(column), {name: part for name, part in self.parts.items() if part.measured}
        if group is None or any(group not in part.groups for part in measured.values()):
            return None
        ends = [(high, name) for name, part in measured.items() for _, _, high in part.groups[group].lift.values()]
        return max(ends, default=None)


def read_audit(file: Path) -> Audit:
    """The report in a file; PrivacyRefusal where there is none."""
    try:
        return Audit.model_validate_json(file.read_bytes())
    except OSError as error:
        raise PrivacyRefusal(
            f"privacy.audit.report: cannot read {file}: {error.strerror or error}; {_AGAIN}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(step) for step in first["loc"])
        raise PrivacyRefusal(
            f"privacy.audit.report: {file} is no report of an audit ({f'{at}: ' if at else ''}{first['msg']}); {_AGAIN}"
        ) from error


def check_audited(columns: Sequence[Column], versions: Mapping[str, str], section: PrivacySection) -> None:
    """Raise PrivacyRefusal, which says what to change, unless the columns of a pipeline keep the rule.

    `versions`: operator -> the version of its model.
    """
    if section.audit is None:
        return
    file, limit = section.audit.report, section.audit.max_lift
    audit = read_audit(file)
    for operator, version in versions.items():
        known = audit.model_versions.get(operator, [])
        if version not in known:
            raise PrivacyRefusal(
                f"privacy.audit.report: {file} measured {operator} with the model version {', '.join(known) or '(none)'}, "
                f"and this run has {version}; {_AGAIN}, or remove {operator} from `pipeline`"
            )
    highest = {column.name: audit.highest(column.name) for column in columns}
    unmeasured = [name for name, found in highest.items() if found is None]
    if unmeasured:
        raise PrivacyRefusal(
            f"privacy.audit.report: {file} has not measured {', '.join(unmeasured)}, and what was not measured does not "
            f"leave; {_AGAIN}, or remove the operator that writes them from `pipeline`"
        )
    above = {name: found for name, found in highest.items() if found is not None and found[0] > limit}
    if above:
        raise PrivacyRefusal(f"privacy.audit.max_lift: {_said(above, audit, limit)}")


def _said(above: Mapping[str, tuple[float, str]], audit: Audit, limit: float) -> str:
    groups: dict[str, list[str]] = {}
    for name in above:
        groups.setdefault(audit.columns[name], []).append(name)
    said = [
        f"{', '.join(names)} (as {group}: up to {above[names[0]][0]:.3f}, {above[names[0]][1]})"
        for group, names in groups.items()
    ]
    return (
        f"expected columns that tell streams and tracks by at most {limit:g} over chance, got {'; '.join(said)}. Remove "
        "the operator that writes them from `pipeline`, or these columns from what it writes; or raise the limit"
    )


def doubts(audit: Audit, limit: float) -> Iterator[str]:
    """Sentences about what a report leaves open: parts that were not measured, and the engine's columns above the
    limit."""
    for name, part in audit.parts.items():
        if not part.measured:
            yield f"the audit did not measure {name!r}, so nothing keeps it below max_lift; its report says why"
    for name in sorted(CORE_COLUMNS & audit.columns.keys()):
        found = audit.highest(name)
        if found is not None and found[0] > limit:
            yield (
                f"{name} (as {audit.columns[name]}) tells up to {found[0]:.3f} over chance ({found[1]}), more than "
                f"max_lift {limit:g}; it is in every row, so no pipeline leaves it out: give the rows to fewer people, or "
                "shorten privacy.salt_period_s"
            )
