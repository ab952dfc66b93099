"""The short chaos run on real Kafka, Triton and Ray: kill -9 and SIGTERM by a seeded schedule lose or double
nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import runs
from helpers.kafka import require_killable_kafka
from helpers.triton import require_triton

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(900)]


def test_nothing_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    require_triton()
    require_killable_kafka()
    command = [sys.executable, str(runs.REPO / "benchmarks" / "chaos.py"), "--plan", "short", "--seed", "1"]
    errors = tmp_path / "errors.txt"
    with errors.open("w") as out:
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=out, text=True, timeout=880, check=False)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end; it wrote: {errors.read_text()[-3000:]}")
    assert done.stdout, errors.read_text()[-3000:]
    result = json.loads(done.stdout)
    for campaign in result["campaigns"]:
        assert not campaign["stuck"], campaign["log"]
        assert campaign["lost"] == campaign["doubled"] == campaign["orphans"] == 0, campaign
        assert set(campaign["fates"]) <= {"processed", "no_face"}, "no chunk may be given up because of a kill"
    assert result["kills"] >= 6 and done.returncode == 0
