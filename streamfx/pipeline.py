"""The pipeline: loads a configuration with its operators' sections, finds operators by entry point, checks their
order."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model

from streamfx.config.messages import sentences
from streamfx.config.tree import Config
from streamfx.config.variables import Variables
from streamfx.config.yaml import apply_override, read_yaml
from streamfx.errors import ConfigError
from streamfx.operator import FaceOperator, Operator, RedactOperator, ScoreOperator, WindowOperator
from streamfx.plugins import find_class, installed

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "streamfx.operators"
Role = Literal["faces", "windows", "score", "redact"]
ROLES: Mapping[Role, type[Operator]] = {
    "faces": FaceOperator,
    "windows": WindowOperator,
    "score": ScoreOperator,
    "redact": RedactOperator,
}


def load_config(source: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (or take a mapping), apply `a.b=value` overrides (values are YAML), put in environment variables
    (`${NAME}`), check everything.

    Relative paths in the file are relative to the working directory, as on the command line. Raises ConfigError with
    one sentence for each wrong path. Whether what it names, such as a file, is on this machine is
    checked by `streamfx.runtime.preflight`.
    """
    tree = read_yaml(source) if isinstance(source, Path) else json.loads(json.dumps(source, default=str))
    for override in overrides:
        apply_override(tree, override)
    variables = Variables()
    tree = variables.put_into(tree)
    if variables.problems:
        raise ConfigError(_list(variables.problems), variables.problems)
    return _check(tree, variables.written)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the tree with a section for every installed operator; one that cannot be imported is left out, and
    the log names it."""
    sections: dict[str, Any] = {}
    for name in sorted(installed_operators()):
        try:
            section = find_operator(name).Config
        except ConfigError as error:
            log.warning("left out of the schema: %s", error)
            continue
        sections[name] = (section | None, Field(default=None, description=f"Section of the operator `{name}`."))
    return create_model("StreamfxConfig", __base__=Config, **sections).model_json_schema()


def role_of(operator: type[Operator]) -> Role:
    """Which of the four roles an operator class plays."""
    for role, base in ROLES.items():
        if issubclass(operator, base):
            return role
    raise ConfigError(f"operator class {operator.__name__} has none of the roles {', '.join(ROLES)}")


def installed_operators() -> dict[str, str]:
    """Names of all operators on this machine, with where each comes from."""
    return {name: point.value for name, point in installed(ENTRY_POINT_GROUP).items()}


def find_operator(name: str) -> type[Operator]:
    """The operator class registered under `name`; ConfigError names what is installed where there is none."""
    return find_class(ENTRY_POINT_GROUP, name, Operator, "pipeline: operator", ConfigError)


def check_pipeline(names: Sequence[str]) -> dict[str, type[Operator]]:
    """Name -> class for a pipeline, after checking its order: faces, windows, scores, redact last."""
    found = {name: find_operator(name) for name in names}
    roles = [role_of(found[name]) for name in names]
    wanted = ["faces", "windows", *["score"] * (len(roles) - 3), "redact"]
    if "redact" not in roles:
        raise ConfigError("pipeline: no redact stage; nothing may leave without one. Add `redact` at the end")
    if len(found) != len(names) or roles != wanted:
        raise ConfigError(
            "pipeline: expected one faces operator, one windows operator, score operators, then one redact operator, "
            f"each once; got {', '.join(f'{n} ({r})' for n, r in zip(names, roles, strict=True))}"
        )
    return found


def _list(problems: Sequence[str]) -> str:
    return "the configuration is wrong:\n" + "\n".join(f"  {problem}" for problem in problems)


def _check(tree: dict[str, Any], written: Mapping[str, str]) -> Config:
    pipeline = tree.get("pipeline", Config.model_fields["pipeline"].default)
    problems: list[str] = []
    classes = {}
    if isinstance(pipeline, list) and all(isinstance(name, str) for name in pipeline):
        # Sections are checked for what is installed, also where the pipeline's order is wrong.
        classes = {name: find_operator(name) for name in pipeline if name in installed_operators()}
        try:
            check_pipeline(pipeline)
        except ConfigError as error:
            problems.append(str(error))
    engine = {key: value for key, value in tree.items() if key not in classes}
    idle = sorted(set(engine) & set(installed_operators()))
    for name in idle:
        problems.append(
            f"{name}: a section for the operator {name!r}, which is not in `pipeline`; add it there or remove it"
        )
        del engine[name]
    sections: dict[str, BaseModel] = {}
    for name, operator in classes.items():
        try:
            given = tree.get(name)
            sections[name] = operator.Config.model_validate({} if given is None else given)
        except ValidationError as error:
            problems += sentences(error, operator.Config, name, written)
    try:
        config = Config.model_validate(engine)
    except ValidationError as error:
        problems = sentences(error, Config, written=written, also=sorted(installed_operators())) + problems
    if problems:
        raise ConfigError(_list(problems), problems)
    config._operators, config._written = sections, dict(written)
    return config
