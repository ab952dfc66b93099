"""The threshold of an audit: columns above it make no row, and what no report measured does not leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.planted import COLUMNS, VERSIONS, Seen, nothing, plant_dataset

from streamfx.cli.main import main
from streamfx.columns import Column
from streamfx.config.privacy import PrivacySection
from streamfx.errors import ConfigError, PrivacyRefusal
from streamfx.pipeline import load_config
from streamfx.privacy.audited import check_audited, read_audit
from streamfx.privacy.rows import Rows
from streamfx.runtime.preflight import check, refuse
from streamfx.testing import TEST_KEY, make_privacy, make_pseudonyms

DAY_S = 86_400
PLAIN = tuple(column for column in COLUMNS if not column.name.startswith("au_"))


def of_stream(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
    return nothing(seen, random) | {"au_12": seen.stream + float(random.normal() * 0.2)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_dataset(tmp_path_factory.mktemp("planted") / "rows", of_stream, tracks=4, days=2)


@pytest.fixture(scope="module")
def report(dataset: Path) -> Path:
    """What the command leaves of a dataset in which `au_12` tells the stream."""
    out = dataset.parent / "audit"
    done = CliRunner().invoke(main, ["audit", str(dataset), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "action_units" in done.output and "most is lost if these are shuffled: au_12" in done.output
    return out / "audit.json"


def rows(report: Path, columns: tuple[Column, ...], versions: dict[str, str] | None = None, **limit: float) -> Rows:
    privacy = make_privacy(audit={"report": report, **limit})
    return Rows(privacy, make_pseudonyms(privacy), "c1", columns, versions or {})


def changed(report: Path, **values: Any) -> Path:
    """A copy of the report with other values."""
    file = report.with_name(f"changed-{'-'.join(values)}.json")
    file.write_text(json.dumps(json.loads(report.read_text()) | values))
    return file


def test_the_maker_of_rows_refuses_the_columns_of_a_group_above_the_limit_and_no_others(report: Path) -> None:
    with pytest.raises(PrivacyRefusal) as refused:
        rows(report, COLUMNS, max_lift=0.2)
    said = str(refused.value)
    assert said.startswith("privacy.audit.max_lift: ") and "at most 0.2" in said
    assert "au_01, au_12 (as action_units: up to 0.7" in said and "Remove the operator that writes them" in said
    assert "p_happiness" not in said and "attr_smiling" not in said
    rows(report, PLAIN, max_lift=0.2)
    rows(report, COLUMNS, max_lift=0.9)


def test_what_counts_is_the_upper_end_of_the_better_probe(report: Path) -> None:
    groups = json.loads(report.read_text())["parts"]["stream"]["groups"]["action_units"]["lift"]
    highest = max(high for _, _, high in groups.values())
    rows(report, COLUMNS, max_lift=highest)
    with pytest.raises(PrivacyRefusal, match=r"max_lift"):
        rows(report, COLUMNS, max_lift=highest - 1e-6)


def test_what_was_not_measured_does_not_leave(report: Path) -> None:
    with pytest.raises(PrivacyRefusal, match=r"has not measured gait_speed, and what was not measured does not leave"):
        rows(report, (*PLAIN, Column("gait_speed", "float", "told")), max_lift=0.9)
    nothing_measured = changed(report, parts={"stream": {"measured": False, "why": "not enough data"}})
    with pytest.raises(PrivacyRefusal, match="has not measured p_happiness, expression"):
        rows(nothing_measured, COLUMNS, max_lift=0.9)


def test_columns_of_another_version_of_a_model_were_not_measured(report: Path) -> None:
    rows(report, COLUMNS, VERSIONS, max_lift=0.9)
    with pytest.raises(PrivacyRefusal, match="measured action_units with the model version v1, and this run has v2"):
        rows(report, COLUMNS, VERSIONS | {"action_units": "v2"}, max_lift=0.9)


BROKEN = ["", "{}", "[]", '{"format": "streamfx audit 1"', '{"format": "streamfx audit 2"}', "\0" * 40]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    file.write_text(text)
    with pytest.raises(PrivacyRefusal, match=r"privacy\.audit\.report: .* is no report of an audit"):
        rows(file, PLAIN)


def test_a_report_that_is_not_there_or_holds_no_numbers_is_refused(report: Path, tmp_path: Path) -> None:
    with pytest.raises(PrivacyRefusal, match=r"privacy\.audit\.report: cannot read .*No such file"):
        rows(tmp_path / "audit.json", ())
    for lift in ({}, {"linear": [0.1, 0.0, None]}, {"linear": [0.1, 0.0, float("nan")]}):
        with pytest.raises(PrivacyRefusal, match="is no report of an audit"):
            rows(changed(report, parts={"stream": {"measured": True, "groups": {"scores": {"lift": lift}}}}), PLAIN)


def test_without_a_limit_no_report_is_asked_for() -> None:
    check_audited(COLUMNS, VERSIONS, PrivacySection(purpose="test", deployment_context="research"))


def tree(folder: Path, **audit: Any) -> dict[str, Any]:
    return {
        "source": {"files": {"paths": ["story.mp4"]}},
        "privacy": {"purpose": "test", "deployment_context": "research", "audit": audit},
        "sink": {"path": str(folder / "out")},
    }


def test_a_run_is_refused_at_its_start_without_a_report_by_the_path_of_its_key(report: Path, tmp_path: Path) -> None:
    (gone,) = [one for one in check(load_config(tree(tmp_path, report="gone.json"))).of("missing") if "audit" in one]
    assert gone.startswith("privacy.audit.report: there is no file gone.json")
    (tmp_path / "foreign.json").write_text('{"model": "something else"}')
    config = load_config(tree(tmp_path, report=str(tmp_path / "foreign.json")))
    with pytest.raises(ConfigError, match=r"privacy\.audit\.report: .*foreign\.json is no report of an audit"):
        refuse(config)


def test_the_check_warns_of_what_the_limit_does_not_reach(report: Path, tmp_path: Path) -> None:
    above = json.loads(report.read_text())["parts"]
    above["stream"]["groups"]["sizes"]["lift"] = {"linear": [0.4, 0.3, 0.5]}
    config = load_config(tree(tmp_path, report=str(changed(report, parts=above)), max_lift=0.1))
    warned = [one for one in check(config).of("warning") if one.startswith("privacy.audit")]
    assert any("did not measure 'across_salts'" in one for one in warned)
    assert any("face_height_px (as sizes) tells up to 0.500" in one for one in warned)
    assert not [one for one in check(config).of("wrong") if "audit" in one]


@pytest.mark.parametrize(
    ("audit", "path"),
    [
        ({}, "privacy.audit.report"),
        ({"report": "a.json", "max_lift": 1}, "privacy.audit.max_lift"),
        ({"report": "a.json", "max_lift": -0.1}, "privacy.audit.max_lift"),
        ({"report": "a.json", "limit": 0.1}, "privacy.audit.limit"),
    ],
)
def test_a_wrong_limit_is_named_by_its_path(audit: dict[str, Any], path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tree(tmp_path, **audit))
    assert any(problem.startswith(path) for problem in caught.value.problems)


def linked(dataset: Path, folder: Path, *more: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code and output of an audit across salt periods, and the lines of the audit log."""
    (folder / "key").write_bytes(TEST_KEY)
    values = tree(folder, report="none.json")
    values["privacy"] = {"purpose": "test", "deployment_context": "research", "salt_period_s": DAY_S}
    values["sink"] = {"path": str(dataset)}
    log = folder / "log.jsonl"
    values["privacy"] |= {"stream_id_key_file": str(folder / "key"), "audit_file": str(log)}
    (folder / "config.yaml").write_text(json.dumps(values))
    done = CliRunner().invoke(main, ["audit", str(dataset), "--config", str(folder / "config.yaml"), "--json", *more])
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return done.exit_code, done.output, lines


def test_with_the_key_salts_are_linked_and_who_asked_is_in_the_audit_log(dataset: Path, tmp_path: Path) -> None:
    streams = [word for number in range(4) for word in ("--stream", f"camera-{number}")]
    code, output, lines = linked(dataset, tmp_path, *streams, "--why", "yearly review")
    assert code == 0, output
    across = json.loads(output)["parts"]["across_salts"]
    assert across["measured"] and across["lift"]["hidden"][1] > 0.3
    digests = [make_pseudonyms().audit_digest(f"camera-{number}") for number in range(4)]
    assert [(line["stream"], line["why"], line["command"]) for line in lines] == [
        (digest, "yearly review", "audit") for digest in digests
    ]
    assert not any(f"camera-{number}" in output + json.dumps(lines) for number in range(4))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--stream", "camera-0"], "--why"),
        (["--why", "review"], "go with --stream"),
        (["--stream", "camera-0", "--why", "camera-0 is asked for"], "must not hold the raw id"),
        (["--stream", "camera-0", "--why", "review", "--key-file", "gone"], "gone does not exist"),
    ],
)
def test_nothing_is_linked_without_a_reason_or_a_key(more: list[str], said: str, dataset: Path, tmp_path: Path) -> None:
    code, output, lines = linked(dataset, tmp_path, *more)
    assert (code != 0, lines) == (True, []) and said in output


def test_the_report_that_the_command_writes_is_the_one_that_the_rule_reads(report: Path) -> None:
    audit = read_audit(report)
    assert audit.columns["au_12"] == "action_units" and audit.model_versions == {n: [v] for n, v in VERSIONS.items()}
    found = audit.highest("au_12")
    assert found is not None and found[0] > 0.5 and found[1] == "stream"
    assert audit.highest("never_written") is None
