"""The chart in tests: Helm and kubectl, rendered objects, their pods, and strict schemas for every object."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from helpers.lacking import lacks
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

REPO = Path(__file__).parents[2]
CHART = REPO / "k8s" / "chart"
TOOLS = REPO / ".k8s-tools"
CLUSTER = REPO.parent / "shared" / "k8s"
"""An optional folder beside the checkout with a Kubernetes control plane and the definitions of custom resources."""
SMALLEST = CHART / "ci" / "smallest.yaml"
"""The values that every team must set; the chart's defaults suffice for all others."""
VALUES_FILES = [
    SMALLEST,
    *sorted(file for file in (CHART / "ci").glob("*.yaml") if file != SMALLEST),
    *sorted((REPO / "k8s" / "overlays").glob("*/values.yaml")),
]
KUBERNETES = "1.37"

Tree = dict[str, Any]


def tool(name: str) -> str:
    """Path of `helm` or `kubectl`, fetched by k8s/tools.sh or on PATH; skips the test where neither exists."""
    fetched = TOOLS / "bin" / name
    found = str(fetched) if fetched.exists() else shutil.which(name)
    if not found:
        lacks(name, "make k8s-tools")
    return found


def call(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end, whatever its exit status."""
    command = [tool(name), *map(str, arguments)]
    environment = os.environ | {"PATH": f"{TOOLS / 'bin'}:{os.environ['PATH']}"} | options.pop("env", {})
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment, **options)


def template(*arguments: object, release: str = "demo") -> subprocess.CompletedProcess[str]:
    """Run `helm template` in namespace `streamfx` with the required values, whatever its exit status."""
    return call("helm", "template", release, CHART, "--namespace", "streamfx", "-f", SMALLEST, *arguments)


def render(*arguments: object, release: str = "demo") -> list[Tree]:
    """The objects of a release in namespace `streamfx`, with the required values and `arguments`."""
    done = template(*arguments, release=release)
    assert done.returncode == 0, done.stderr
    return [tree for tree in yaml.safe_load_all(done.stdout) if tree]


@functools.cache
def rendered(values: Path) -> tuple[Tree, ...]:
    """The objects with one values file; callers must not change them."""
    return tuple(render("-f", values))


def by_kind(objects: Sequence[Tree], kind: str) -> list[Tree]:
    """The objects of a kind."""
    return [tree for tree in objects if tree["kind"] == kind]


def named(objects: Sequence[Tree], kind: str, name: str) -> Tree:
    """The object of a kind and name."""
    [found] = [tree for tree in by_kind(objects, kind) if tree["metadata"]["name"] == name]
    return found


@dataclass(frozen=True)
class Template:
    """A pod template and the object that makes pods of it."""

    owner: str
    metadata: Tree
    spec: Tree

    @property
    def role(self) -> str:
        """The component that the labels name."""
        role: str = self.metadata["labels"]["app.kubernetes.io/component"]
        return role

    def as_pod(self, name: str) -> Tree:
        """A plain Pod of the template."""
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {**self.metadata, "name": name}, "spec": self.spec}


def templates(objects: Sequence[Tree]) -> Iterator[Template]:
    """Every pod template in the objects, those inside custom resources included."""
    for tree in objects:
        owner, spec = f"{tree['kind']}/{tree['metadata']['name']}", tree.get("spec", {})
        if tree["kind"] == "Pod":
            yield Template(owner, tree["metadata"], spec)
        elif tree["kind"] == "RayCluster":
            groups = [("head", spec["headGroupSpec"]), *((g["groupName"], g) for g in spec["workerGroupSpecs"])]
            for name, group in groups:
                yield Template(f"{owner}/{name}", group["template"]["metadata"], group["template"]["spec"])
        elif tree["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
            yield Template(owner, spec["template"]["metadata"], spec["template"]["spec"])
        elif "template" in spec:
            yield Template(owner, spec["template"]["metadata"], spec["template"]["spec"])


def sets(container: Mapping[str, Any]) -> list[str]:
    """The overrides of the configuration in a container's arguments."""
    arguments = container["args"]
    return [value for flag, value in itertools.pairwise(arguments) if flag == "--set"]


def problem_of(tree: Tree) -> str | None:
    """The first error of an object against its schema, unknown keys included; None if there is none."""
    error = next(_validator(tree["apiVersion"], tree["kind"]).iter_errors(tree), None)
    return f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}" if error else None


@functools.cache
def _validator(version: str, kind: str) -> Draft202012Validator:
    """The strict validator of a kind, built once because the schemas are large."""
    group, _, number = version.rpartition("/")
    if "." not in group or group.endswith(".k8s.io"):
        return _built_in(f"{kind.lower()}-{group.partition('.')[0]}-{number}".replace("--", "-"))
    file = CLUSTER / "crds" / f"{group}_{kind.lower()}s.yaml"
    if not file.exists():
        lacks("the development folder beside the checkout", "its definitions of custom resources in shared/k8s")
    definition = yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    [schema] = [v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == number]
    closed: Tree = json.loads(json.dumps(schema))
    _close(closed)
    closed["properties"]["metadata"] = {"type": "object"}
    return Draft202012Validator(closed)


def _built_in(name: str) -> Draft202012Validator:
    """A validator from the schemas in kubernetes-validate that refuses unknown keys."""
    if (TOOLS / "python").is_dir():
        sys.path.append(str(TOOLS / "python"))
    if not importlib.util.find_spec("kubernetes_validate"):
        lacks("kubernetes-validate", "make k8s-tools")
    package = importlib.import_module("kubernetes_validate")
    assert package.__file__ is not None
    folder = Path(package.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
    schema, definitions = (json.loads((folder / f"{file}.json").read_text()) for file in (name, "_definitions"))
    registry: Any = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return Draft202012Validator(schema, registry=registry)


def _close(schema: Tree) -> None:
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
    # Go takes flags inside a pattern, which Python does not.
    if "(?i)" in str(schema.get("pattern")):
        del schema["pattern"]
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    for below in schema.get("properties", {}).values():
        _close(below)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            _close(schema[key])
