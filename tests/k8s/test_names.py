"""Names and labels: whatever the name of a release or a packaged chart, its objects have valid names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.chart import CHART, Tree, by_kind, call, sets, templates

EVERYTHING = CHART / "ci" / "everything.yaml"
LONG = "a" * 31 + "-" + "b" * 21
"""A name of the 53 characters that Helm allows."""
ODD = [LONG, f"{LONG[:-1]}c", "2026-faces", "faces.shop-12", "faces-shop-12", "streamfx"]
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?")


def release(name: str, chart: Path = CHART) -> list[Tree]:
    done = call("helm", "template", name, chart, "--namespace", "streamfx", "-f", EVERYTHING)
    assert done.returncode == 0, done.stderr
    return [tree for tree in yaml.safe_load_all(done.stdout) if tree]


def labels(objects: list[Tree]) -> Iterator[str]:
    for tree in objects:
        yield from tree["metadata"]["labels"].values()
    for template in templates(objects):
        yield from template.metadata["labels"].values()


@pytest.mark.parametrize("name", ODD)
def test_every_object_has_a_name_that_the_cluster_and_its_operators_accept(name: str) -> None:
    objects = release(name)
    for tree in objects:
        own = tree["metadata"]["name"]
        limit = 63 if tree["kind"] in ("Service", "Pod") else 253
        assert LABEL.fullmatch(own) and len(own) <= limit, f"{tree['kind']}/{own}"
    assert all(VALUE.fullmatch(value) and len(value) <= 63 for value in labels(objects))
    [cluster] = by_kind(objects, "RayCluster")
    ray = cluster["metadata"]["name"]
    # The operator truncates longer names, so it would bind another account than the chart's.
    [head] = [t for t in templates([cluster]) if t.role == "head"]
    assert len(f"{ray}-head-svc") <= 50 and len(head.spec["serviceAccountName"]) <= 50
    [supervisor] = [t.spec["containers"][0] for t in templates(objects) if t.role == "supervisor"]
    assert f'runtime.ray_address="ray://{ray}-head-svc:10001"' in sets(supervisor)


def test_two_releases_in_one_namespace_share_no_object_and_select_their_own_pods() -> None:
    releases = {name: release(name) for name in ODD}
    names = [(tree["kind"], tree["metadata"]["name"]) for objects in releases.values() for tree in objects]
    assert len(names) == len(set(names))
    pods = [(name, t.metadata["labels"]) for name, objects in releases.items() for t in templates(objects)]
    for name, objects in releases.items():
        for tree in objects:
            selector = tree["spec"].get("podSelector") or tree["spec"].get("selector") if "spec" in tree else None
            wanted = (selector or {}).get("matchLabels", selector)
            if wanted:
                selected = {owner for owner, have in pods if wanted.items() <= have.items()}
                assert selected == {name}, f"{tree['kind']}/{tree['metadata']['name']}"


def test_a_chart_packaged_with_build_metadata_has_valid_labels(tmp_path: Path) -> None:
    version = "0.1.0+build.7"
    done = call("helm", "package", CHART, "--version", version, "--app-version", version, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.iterdir()
    assert all(VALUE.fullmatch(value) for value in labels(release("demo", package)))
