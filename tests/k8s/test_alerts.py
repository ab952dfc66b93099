"""The alerts: each is valid for promtool, fires when it should and only then, and has a section in the runbooks. Also
the time in the model servers' queues, by which they are scaled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from helpers.prometheus import NAMESPACE, RELEASE, alerts, needs_prometheus, promtool, rules
from helpers.runs import REPO

RUNBOOKS = REPO / "docs" / "runbooks.md"

Series = dict[str, str]
CASES: dict[str, tuple[Series, Series]] = {
    "StreamfxLosing": (
        {"streamfx_gap_records_total": "0x30 7x10"},
        {"streamfx_gap_records_total": "7x40"},
    ),
    "StreamfxLagging": (
        {"streamfx_lag_seconds": "400x40"},
        {"streamfx_lag_seconds": "400x10 20x15 400x12"},
    ),
    "StreamfxSilent": (
        {"streamfx_partitions": "1x20 _x20"},
        {"streamfx_partitions": "1x40"},
    ),
    "StreamfxUnowned": (
        {"streamfx_partitions": "0x40"},
        {"streamfx_partitions": "4x37 0x3"},
    ),
    "StreamfxBrokerAway": (
        {"streamfx_broker_away_seconds": "0x30 90+60x9"},
        {"streamfx_broker_away_seconds": "0x30 90x3 0x6"},
    ),
    "StreamfxStalled": (
        {"streamfx_queued_chunks": "8x40", "streamfx_commits_total": "0+1x20 20x20"},
        {"streamfx_queued_chunks": "0x40", "streamfx_commits_total": "20x40"},
    ),
    "StreamfxPoison": (
        {"streamfx_poison_chunks_total": "_x30 1x10"},
        {"streamfx_poison_chunks_total": "0x40"},
    ),
    "StreamfxUndecodable": (
        {'streamfx_chunks_total;fate="undecodable"': "0+10x40", 'streamfx_chunks_total;fate="processed"': "0+90x40"},
        {'streamfx_chunks_total;fate="undecodable"': "0+1x40", 'streamfx_chunks_total;fate="processed"': "0+90x40"},
    ),
    "StreamfxConfigNotTaken": (
        {'streamfx_config_reloads_total;outcome="refused"': "_x30 1x10"},
        {'streamfx_config_reloads_total;outcome="applied"': "0x30 3x10"},
    ),
    "StreamfxDetectorFails": (
        {"streamfx_redaction_failures_total": "0+5x40", 'streamfx_frames_total;use="looked_at"': "0+100x40"},
        {"streamfx_redaction_failures_total": "3x40", 'streamfx_frames_total;use="looked_at"': "0+100x40"},
    ),
    "StreamfxWorkersMissing": (
        {"streamfx_workers_running": "2x40", "streamfx_workers_desired": "2x20 3x20"},
        {"streamfx_workers_running": "2x25 3x15", "streamfx_workers_desired": "2x20 3x20"},
    ),
    "StreamfxPublisherAway": (
        {"streamfx_publish_connected": "1x25 0x15"},
        {"streamfx_publish_connected": "1x30 0x3 1x2 0x5"},
    ),
    "StreamfxPublisherDrops": (
        {"streamfx_publish_dropped_chunks_total": "0x30 4x10"},
        {"streamfx_publish_dropped_chunks_total": "4x40"},
    ),
    "StreamfxMaintenanceFailed": (
        {
            'kube_cronjob_status_last_schedule_time;cronjob="demo-retain"': "60x10 960x30",
            'kube_cronjob_status_last_successful_time;cronjob="demo-retain"': "100x40",
        },
        {
            'kube_cronjob_status_last_schedule_time;cronjob="demo-retain"': "60x10 960x30",
            'kube_cronjob_status_last_successful_time;cronjob="demo-retain"': "100x15 1000x25",
        },
    ),
}
"""For each alert, the metrics by minute for 40 minutes after which it fires, and for 40 after which it does not."""


def selector(name: str) -> str:
    metric, _, label = name.partition(";")
    return f'{metric}{{namespace="{NAMESPACE}",release="{RELEASE}"{"," + label if label else ""}}}'


def test_every_alert_has_a_firing_and_a_quiet_case() -> None:
    assert set(CASES) == set(alerts())


def test_every_alert_has_a_section_in_the_runbooks_and_every_section_an_alert() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sections == list(alerts())


@needs_prometheus
def test_the_rules_are_valid(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    done = promtool("check", "rules", "rules.yaml", folder=tmp_path)
    number = sum(len(group["rules"]) for group in rules()["groups"])
    assert done.returncode == 0 and f"{number} rules found" in done.stdout, done.stdout + done.stderr


@needs_prometheus
@pytest.mark.parametrize("alert", CASES)
@pytest.mark.parametrize("fires", [True, False], ids=["fires", "is quiet"])
def test_an_alert_fires_when_it_should_and_only_then(alert: str, fires: bool, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    series = CASES[alert][0 if fires else 1]
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    case = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": selector(name), "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": query, "eval_time": "40m", "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
                ],
            }
        ],
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    done = promtool("test", "rules", "case.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
@pytest.mark.parametrize(
    ("waited_us", "answered", "expected"),
    [("0+6000000x10", "0+120x10", 50), ("0x10", "0+120x10", 0), ("77x10", "5x10", 0)],
    ids=["50 ms a request", "no wait", "no requests"],
)
def test_the_time_in_the_queue_is_the_mean_of_all_servers(
    waited_us: str, answered: str, expected: int, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    pods = [f'{{namespace="{NAMESPACE}",release="{RELEASE}",service="demo-triton",pod="{pod}"}}' for pod in "ab"]
    series = [
        {"series": f"{name}{pod}", "values": values}
        for pod in pods
        for name, values in (("nv_inference_queue_duration_us", waited_us), ("nv_inference_request_success", answered))
    ]
    labels = f'{{namespace="{NAMESPACE}",release="{RELEASE}",service="demo-triton"}}'
    milliseconds = f"round(1000 * streamfx:triton_queue_seconds:mean2m{labels})"
    asked = {"expr": milliseconds, "eval_time": "10m", "exp_samples": [{"labels": labels, "value": expected}]}
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]
    case = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    done = promtool("test", "rules", "case.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
