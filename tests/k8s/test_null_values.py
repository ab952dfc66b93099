"""Keys without a value in a values file: YAML reads null, and Helm then removes the key with its default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helpers import chart
from helpers.chart import CHART

EVERYTHING = CHART / "ci" / "everything.yaml"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def keys(tree: dict[str, Any], path: str = "") -> Iterator[str]:
    """The path of each key except those inside resources."""
    for key, below in tree.items():
        yield path + key
        if isinstance(below, dict) and key != "resources":
            yield from keys(below, f"{path}{key}.")


@pytest.mark.parametrize("section", VALUES)
def test_a_blank_key_is_refused_by_name_or_is_harmless(section: str) -> None:
    for key in keys({section: VALUES[section]}):
        # Without overrides the pipeline does not use this model.
        how = ("--set", f"{key}=null") if key == "overrides" else ("-f", EVERYTHING, "--set", f"{key}=null")
        done = chart.template(*how)
        if done.returncode and "do not go together" in done.stderr:
            assert key in done.stderr, f"{key}: {done.stderr}"
            continue
        if done.returncode:
            where, _, name = key.rpartition(".")
            at = f"'/{where.replace('.', '/')}'" if where else "''"
            assert f"at {at}: " in done.stderr, f"{key}: {done.stderr}"
            assert f"'{name}'" in done.stderr or "minProperties" in done.stderr, f"{key}: {done.stderr}"
            continue
        objects = [tree for tree in yaml.safe_load_all(done.stdout) if tree]
        assert {chart.problem_of(tree) for tree in objects} == {None}, key
        for policy in chart.by_kind(objects, "NetworkPolicy"):
            rules = [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]
            assert all(rules), f"{key}: {policy['metadata']['name']} allows everything"


def test_an_empty_peer_is_refused_by_name() -> None:
    for key in ("kafka.to", "objectStore.to", "tracing.to", "extraWorkerEgress"):
        done = chart.template("--set-json", f"networkPolicy.{key}=[{{}}]")
        assert done.returncode and f"/networkPolicy/{key.replace('.', '/')}/0" in done.stderr, done.stderr
