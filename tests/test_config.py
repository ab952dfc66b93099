"""The configuration: one typed tree that refuses unknown keys and names wrong values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from streamfx.cli import tables_docs
from streamfx.cli.config_docs import page
from streamfx.cli.main import main
from streamfx.config.messages import section_of
from streamfx.config.secrets import read_secret
from streamfx.config.section import is_reloadable
from streamfx.config.tree import Config
from streamfx.errors import ConfigError
from streamfx.pipeline import json_schema, load_config

REPO = Path(__file__).parents[1]
SHIPPED = sorted((REPO / "config").glob("*.yaml"))


def tree(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "source": {"files": {"paths": ["a.mp4"]}},
        "privacy": {"purpose": "test", "deployment_context": "research"},
        "sink": {"path": "out"},
    }
    return base | changes


def problems(config: dict[str, object], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(config, overrides)
    return caught.value.problems


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_shipped_configuration_is_valid(file: Path) -> None:
    assert isinstance(load_config(file), Config)


def test_an_unknown_key_is_refused_by_its_path() -> None:
    (problem,) = problems(tree(sink={"path": "out", "rol_chunks": 3}))
    assert problem.startswith("sink.rol_chunks: unknown key; expected one of path, roll_chunks,")


def test_what_takes_the_place_of_faces_in_films_is_refused_by_its_path() -> None:
    (problem,) = problems(tree(redact={"films": True, "fill": "blur"}))
    assert problem.startswith("redact.fill: ") and "'solid' or 'surrogate'" in problem
    (problem,) = problems(tree(redact={"fill": "surrogate"}))
    assert problem.startswith("redact: fill: ") and "films: true" in problem


def test_an_unknown_key_of_an_operator_is_refused_by_its_path() -> None:
    (problem,) = problems(tree(windows={"lenght_s": 2}))
    assert problem.startswith("windows.lenght_s: unknown key")


def test_a_wrong_value_is_reported_with_path_expectation_and_value() -> None:
    (problem,) = problems(tree(), "runtime.workers=zero")
    assert problem.startswith("runtime.workers:") and "integer" in problem and "'zero'" in problem


@pytest.mark.parametrize("came", [0, False, [], "", "off"])
def test_an_operators_section_that_is_not_a_mapping_is_refused(came: object) -> None:
    (problem,) = problems(tree(faces=came))
    assert problem.startswith("faces: expected a section with some of the keys detect_every,")


def test_a_section_that_is_not_a_mapping_is_reported_with_its_keys() -> None:
    (problem,) = problems(tree(runtime={"engine": "ray", "scaling": "on"}))
    assert problem.startswith("runtime.scaling: expected a section with some of the keys min_workers,")
    assert problem.endswith("got 'on'")


def test_an_empty_path_is_refused() -> None:
    assert problems(tree(), "sink.path=") == ["sink.path: expected a path, got nothing"]


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan"])
def test_a_number_that_is_not_finite_is_refused(text: str) -> None:
    # An infinite timeout is useless, and Python would refuse it only when it waits.
    (problem,) = problems(tree(), f"runtime.drain_s={text}")
    assert problem.startswith("runtime.drain_s: ") and "finite" in problem


@pytest.mark.parametrize("key", ["runtime.workers", "media.sample_fps", "faces.detect_every"])
def test_a_boolean_is_not_accepted_as_a_number(key: str) -> None:
    (problem,) = problems(tree(), f"{key}=yes")
    assert problem.startswith(f"{key}: expected a number") and problem.endswith("got True")


@pytest.mark.parametrize("key", ["tracing.endpoint", "sink.s3.endpoint"])
@pytest.mark.parametrize(
    "url",
    [
        "collector:4318",
        "nonsense",
        "http://",
        "http://host:xx",
        "http://a b",
        "http://a^b",
        "ftp://host",
        "http://[::1",
    ],
)
def test_an_endpoint_must_be_the_url_of_a_server(key: str, url: str) -> None:
    (problem,) = problems(tree(), f"{key}={url}")
    assert problem.startswith(f"{key}: expected a URL such as http://host:port/path, got '")
    assert load_config(tree(), [f"{key}=https://host:4318/v1"])


@pytest.mark.parametrize("value", ["2026-02-31", "[" * 5000])
def test_a_value_that_yaml_cannot_read_is_refused_on_the_command_line_too(value: str) -> None:
    (problem,) = problems(tree(), f"privacy.purpose={value}")
    assert "not valid YAML" in problem


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("sink: {path: out}\nserving: {batch_size: 4}\nsink: {roll_chunks: 3}\n")
    with pytest.raises(ConfigError, match=r"the key 'sink' stands twice(.|\n)*line 3"):
        load_config(file)


def test_keys_of_a_yaml_merge_may_be_overridden(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text(
        yaml.safe_dump(tree(pipeline=["faces", "windows", "redact"]))
        + "serving: {batch_size: 4, triton: {<<: {url: 'a:1'}, url: 'b:1'}}\n"
        + "media: {<<: {threads: 2, sample_fps: 4}, threads: 3}\n"
    )
    config = load_config(file)
    assert (config.media.threads, config.media.sample_fps, config.serving.triton.url) == (3, 4, "b:1")


def test_a_too_long_file_name_is_a_plain_error() -> None:
    result = CliRunner().invoke(main, ["config", "check", "x" * 300])
    assert result.exit_code == 1 and "File name too long" in result.output


def test_a_secret_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^stream_id_key: cannot read .*: Is a directory"):
        read_secret(tmp_path, None, "stream_id_key")


def test_a_missing_value_is_named() -> None:
    config = tree()
    del config["privacy"]
    assert problems(config) == ["privacy: required, but not given"]


def test_all_problems_are_reported_at_once() -> None:
    found = problems(tree(sink={}, runtime={"engine": "spark"}, windows={"hop_s": -1}))
    assert sorted(p.split(":")[0] for p in found) == ["runtime.engine", "sink.path", "windows.hop_s"]


def test_a_section_for_an_operator_outside_the_pipeline_is_refused() -> None:
    (problem,) = problems(tree(pipeline=["faces", "windows", "redact"], expression={}))
    assert problem.startswith("expression: a section for the operator 'expression', which is not in `pipeline`")


@pytest.mark.parametrize("kept", [["faces", "windows", "expression"], ["faces", "windows"]])
def test_a_pipeline_without_redact_does_not_start(kept: list[str]) -> None:
    (problem,) = problems(tree(pipeline=kept, faces={"detect_every": 1}))
    assert "no redact stage" in problem


@pytest.mark.parametrize(
    "order",
    [["redact", "faces", "windows"], ["windows", "faces", "redact"], ["faces", "windows", "redact", "expression"]],
)
def test_a_pipeline_in_the_wrong_order_does_not_start(order: list[str]) -> None:
    assert any(p.startswith("pipeline: expected one faces operator") for p in problems(tree(pipeline=order)))


def test_an_operator_that_is_not_installed_is_named_with_those_that_are() -> None:
    (problem,) = problems(tree(pipeline=["faces", "windows", "blinks", "redact"]))
    assert "operator 'blinks' is not installed" in problem and "expression" in problem


def test_overrides_are_yaml_and_reach_any_depth() -> None:
    config = load_config(tree(), ["windows.hop_s=0.5", "source.files.paths=[x.mp4, y.mp4]", "serving.triton.url=h:1"])
    assert config.operators["windows"].hop_s == 0.5  # type: ignore[attr-defined]
    assert config.source.files is not None and config.source.files.paths == [Path("x.mp4"), Path("y.mp4")]
    assert config.serving.triton.url == "h:1"


@pytest.mark.parametrize("override", ["sink", "=3", "sink.path.deeper=1"])
def test_a_wrong_override_is_reported(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(tree(), [override])


@pytest.mark.parametrize("text", ["- a list", "a: [", "\x00", "a: 2026-13-45", "a: " + 5000 * "9", 3000 * "["])
def test_a_file_that_is_not_a_mapping_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("context", ["workplace", "education"])
def test_emotions_at_work_and_in_education_need_an_exemption(context: str) -> None:
    privacy = {"purpose": "p", "deployment_context": context}
    (problem,) = problems(tree(privacy=privacy))
    assert problem.startswith("privacy: deployment_context") and "exemption" in problem
    exempt = privacy | {"exemption": {"kind": "medical", "reference": "DPIA-7"}}
    assert load_config(tree(privacy=exempt)).privacy.exemption is not None


def test_a_purpose_must_not_be_empty() -> None:
    (problem,) = problems(tree(privacy={"purpose": "", "deployment_context": "research"}))
    assert problem.startswith("privacy.purpose:")


def test_what_is_too_short_says_how_long_it_must_be() -> None:
    sensitive = {"kind": "age", "purpose": "yearly audit"}
    (problem,) = problems(tree(privacy={"purpose": "p", "deployment_context": "research", "sensitive": sensitive}))
    assert problem == "privacy.sensitive.purpose: expected at least 20 characters, got 12 in 'yearly audit'"
    assert "pipeline: expected at least 1 item, got an empty list" in problems(tree(pipeline=[]))


def test_exactly_one_source_is_required() -> None:
    kafka = {"bootstrap": "b:1", "topic": "t"}
    for source in ({}, {"kafka": kafka, "files": {"paths": ["a"]}}):
        assert problems(tree(source=source))[0].startswith("source: exactly one of")


def test_config_id_depends_on_what_decides_the_rows_and_nothing_else() -> None:
    base = load_config(tree()).config_id
    throughput = [
        "serving.backend=triton",
        "serving.batch_size=9",
        "sink.path=elsewhere",
        "media.threads=3",
        "media.video_track=auto",
        "serving.precision=fp32",
        "serving.models.expression.precision=fp32",
    ]
    assert load_config(tree(), throughput).config_id == base
    kafka = tree(source={"kafka": {"bootstrap": "b:1", "topic": "t"}})
    assert load_config(kafka).config_id == base
    for decides in (
        "windows.hop_s=0.5",
        "media.sample_fps=4",
        "privacy.salt_period_s=0",
        "faces.detect_every=1",
        "media.video_track=1",
        "serving.precision=bf16",
        "serving.models.expression.precision=int8",
    ):
        assert load_config(tree(), [decides]).config_id != base


def test_config_id_tells_precisions_apart_and_not_how_they_are_written() -> None:
    ids = {words: load_config(tree(), words.split()).config_id for words in (
        "serving.precision=int8",
        "serving.precision=bf16",
        "serving.models.expression.precision=int8",
        "serving.precision=int8 serving.models.expression.precision=fp32",
    )}  # fmt: skip
    assert len(set(ids.values())) == len(ids)
    again = ["serving.precision=int8", "serving.models.expression.precision=int8"]
    assert load_config(tree(), again).config_id == ids["serving.precision=int8"]


def test_the_schema_has_a_section_for_each_operator() -> None:
    schema = json_schema()
    assert {"source", "sink", "privacy", "faces", "windows", "expression", "redact"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_the_command_line_checks_and_prints_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(tree()))
    assert CliRunner().invoke(main, ["config", "check", "--elsewhere", str(file)]).exit_code == 0
    wrong = CliRunner().invoke(main, ["config", "check", str(file), "--set", "sink.pth=1"])
    assert wrong.exit_code == 1 and "sink.pth: unknown key" in wrong.output
    assert json.loads(CliRunner().invoke(main, ["config", "schema"]).output)["title"] == "StreamfxConfig"


def test_docs_config_is_generated_from_the_current_tree() -> None:
    assert (REPO / "docs" / "config.md").read_text() == page(), "docs/config.md is stale: run `make docs`"
    assert (REPO / "docs" / "data.md").read_text() == tables_docs.page(), "docs/data.md is stale: run `make docs`"


KAFKA = {"kafka": {"bootstrap": "localhost:9092", "topic": "chunks"}}


@pytest.mark.parametrize(
    ("source", "runtime", "said"),
    [
        (KAFKA, {"scaling": {}}, "scaling needs engine: ray"),
        ({"files": {"paths": ["clips"]}}, {"engine": "ray", "scaling": {}}, "runtime.scaling needs source.kafka"),
        (KAFKA, {"engine": "ray", "scaling": {"min_workers": 5}}, "min_workers 5 is more than max_workers 4"),
    ],
)
def test_scaling_is_refused_where_it_is_impossible(source: dict[str, Any], runtime: dict[str, Any], said: str) -> None:
    config = tree(runtime=runtime)
    config["source"] = source
    assert any(said in problem for problem in problems(config))


@pytest.mark.parametrize(
    ("source", "privacy", "said"),
    [
        ({"files": {"paths": ["clips"]}}, {"consent_topic": "consents"}, "privacy.consent_topic needs source.kafka"),
        (
            KAFKA,
            {"consent_topic": "consents", "consent_file": "consent.csv"},
            "privacy: give consent_file or consent_topic",
        ),
        (KAFKA, {"consent_topic": "a/b"}, "privacy.consent_topic: expected a topic's name"),
    ],
)
def test_there_is_one_consent_table_at_most_and_a_topic_has_brokers(
    source: dict[str, Any], privacy: dict[str, Any], said: str
) -> None:
    config = tree()
    config["source"] = source
    config["privacy"] |= privacy
    assert any(said in problem for problem in problems(config)), problems(config)


def leaves(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        below = section_of(field.annotation)
        yield from leaves(below, f"{path}{name}.") if below else ((f"{path}{name}", field),)


@pytest.mark.parametrize("path", [path for path, field in leaves(Config) if is_reloadable(field)])
def test_a_live_knob_has_a_default_a_range_and_an_effect_with_its_unit(path: str) -> None:
    field = dict(leaves(Config))[path]
    assert not field.is_required() and field.description
    assert field.metadata or get_origin(field.annotation) is Literal, "no range"
    unit = path.endswith("_s") or re.search(
        "second|bytes|chunks|windows|workers|times|verbosity", field.description, re.I
    )
    assert unit, field.description


def test_the_schema_marks_live_knobs() -> None:
    sink = json_schema()["$defs"]["Sink"]["properties"]
    assert sink["roll_chunks"]["live"] is True and "live" not in sink["path"]
