"""`streamfx config check` and the start of a run find the same problems, and report files of other machines apart."""

from __future__ import annotations

import base64
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from streamfx.cli.main import main
from streamfx.errors import ConfigError
from streamfx.pipeline import load_config
from streamfx.runtime.preflight import check, refuse
from streamfx.shipped import PACKAGE

STORY = PACKAGE / "assets" / "story.mp4"
KAFKA = {"kafka": {"bootstrap": "127.0.0.1:1", "topic": "chunks", "connect_timeout_s": 1}}


def tree(folder: Path, **sections: Any) -> dict[str, Any]:
    key = folder / "key"
    if not key.exists():
        key.write_bytes(b"k" * 32)
        key.chmod(0o600)
    base: dict[str, Any] = {
        "source": {"files": {"paths": [str(STORY)]}},
        "privacy": {"purpose": "test", "deployment_context": "research", "stream_id_key_file": str(key)},
        "sink": {"path": str(folder / "out")},
    }
    return base | sections


def findings(config: dict[str, Any], kind: str, *overrides: str, deep: bool = False) -> list[str]:
    return check(load_config(config, overrides), deep).of(kind)


def shown(folder: Path, config: dict[str, Any], *arguments: str) -> Result:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return CliRunner().invoke(main, ["config", "check", str(file), *arguments])


def test_a_valid_configuration_is_reported_with_what_was_and_was_not_checked(tmp_path: Path) -> None:
    result = shown(tmp_path, tree(tmp_path))
    assert result.exit_code == 0, result.output
    assert "config.yaml is right; config_id " in result.output
    assert "Looked at:" in result.output and "Not looked at (--deep asks servers):" in result.output
    assert not (tmp_path / "out").exists()


REFUSED = {
    "sink.path=gs://bucket/rows": "sink.path",
    "sink.path=s3://": "sink.path",
    "sink.path=~/rows": "sink.path",
    "sink.path=''": "sink.path",
    "source.files.paths=['rtsp://camera/1']": "source.files.paths",
    "redact.preview_dir=s3://bucket/p": "redact.preview_dir",
    "dead_letter.path=https://host/x": "dead_letter.path",
    "dead_letter.encryption_key='env:'": "dead_letter",
    "serving.triton.url=http://host:8001/x": "serving.triton.url",
    "serving.triton.url=host:8001/x": "serving.triton.url",
    "serving.triton.url=host": "serving.triton.url",
    "serving.triton.url=host:0": "serving.triton.url",
    "source.claim_check.allowed_prefixes=['']": "source.claim_check.allowed_prefixes.0",
    "runtime.workers=4": "runtime",
    "runtime.ray_address=ray://head:10001": "runtime",
    "runtime.metrics_port=65535": "runtime",
    "runtime={metrics_port: 9400, health_port: 9401}": "runtime",
    "privacy.purpose=' '": "privacy.purpose",
    "privacy.stream_id_key_env=not-a-name": "privacy.stream_id_key_env",
    "serving.deadline_s=1e300": "serving.deadline_s",
    "media.sample_fps=1e-9": "media.sample_fps",
}


@pytest.mark.parametrize(("override", "path"), REFUSED.items())
def test_a_value_that_no_machine_could_run_with_is_refused_by_its_path(
    override: str, path: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tree(tmp_path), [override])
    assert any(problem.startswith(f"{path}: ") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bootstrap", "http://broker:9092"),
        ("bootstrap", "broker"),
        ("bootstrap", "a:9092,"),
        ("topic", "my topic"),
        ("topic", ".."),
        ("group", ""),
        ("max_chunk_bytes", 2**31),
        ("security", {"key_file": "client.key"}),
    ],
)
def test_values_that_kafka_would_refuse_are_refused(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"source\.kafka\.{key}"):
        load_config(tree(tmp_path, source={"kafka": KAFKA["kafka"] | {key: value}}))


WRONG = {
    "expression.model=expression-smal": "expression.model",
    "source.files.start=yesterday": "source.files.start",
    "source.claim_check.allowed_prefixes=['http://user@host/x']": "source.claim_check.allowed_prefixes",
    "dead_letter.topic=letters": "dead_letter.topic",
    "media.max_chunk_s=1": "source.files.chunk_s",
}


@pytest.mark.parametrize(("override", "path"), WRONG.items())
def test_conflicting_values_are_refused_by_check_and_run_alike(override: str, path: str, tmp_path: Path) -> None:
    config = load_config(tree(tmp_path), [override])
    (problem,) = check(config).of("wrong")
    assert problem.startswith(f"{path}: ")
    with pytest.raises(ConfigError) as caught:
        refuse(config)
    assert caught.value.problems == [problem]


def test_a_misspelt_model_is_refused_with_the_closest_name(tmp_path: Path) -> None:
    result = shown(tmp_path, tree(tmp_path), "--set", "expression.model=expression-smal")
    assert result.exit_code == 1 and "did you mean 'expression-small'?" in result.output


def test_the_dead_letter_topic_must_not_be_the_source_topic(tmp_path: Path) -> None:
    config = tree(tmp_path, source=KAFKA, dead_letter={"topic": "chunks"})
    (problem,) = findings(config, "wrong")
    assert problem.startswith("dead_letter.topic: chunks is the topic that is read")


@pytest.mark.parametrize("other", [{"consent_topic": "chunks"}, {"consent_topic": "letters"}])
def test_the_consent_topic_is_one_of_its_own(tmp_path: Path, other: dict[str, str]) -> None:
    config = tree(tmp_path, source=KAFKA, dead_letter={"topic": "letters"})
    config["privacy"] |= other
    (problem,) = findings(config, "wrong")
    assert problem.startswith(
        f"privacy.consent_topic: {other['consent_topic']} is the topic of chunks or of dead letters"
    )


def test_a_kafka_run_requires_a_key(tmp_path: Path) -> None:
    config = tree(tmp_path, source=KAFKA, privacy={"purpose": "test", "deployment_context": "research"})
    (problem,) = findings(config, "wrong")
    assert problem.startswith("privacy.stream_id_key_file: a Kafka run needs a pseudonym key")


MISSING = {
    "source.files.paths=[/nowhere/a.mp4]": "source.files.paths",
    "expression.model=/models/mine": "expression.model",
    "privacy={purpose: t, deployment_context: research, stream_id_key_env: STREAMFX_NOT_SET}": "privacy.stream_id_key_env",
    "dead_letter.encryption_key=file:/nowhere/key": "dead_letter.encryption_key",
    "dead_letter.encryption_key=env:STREAMFX_NOT_SET": "dead_letter.encryption_key",
    "source.claim_check.allowed_prefixes=[/nowhere]": "source.claim_check.allowed_prefixes",
}


@pytest.mark.parametrize(("override", "path"), MISSING.items())
def test_a_missing_file_is_an_error_unless_the_configuration_is_for_elsewhere(
    override: str, path: str, tmp_path: Path
) -> None:
    result = shown(tmp_path, tree(tmp_path), "--set", override)
    assert result.exit_code == 1 and "Not on this machine" in result.output and f"  {path}: " in result.output
    assert "is right" not in result.output
    elsewhere = shown(tmp_path, tree(tmp_path), "--set", override, "--elsewhere")
    assert elsewhere.exit_code == 0 and f"  {path}: " in elsewhere.output and "is right" not in elsewhere.output
    config = load_config(tree(tmp_path), [override])
    with pytest.raises(ConfigError, match=path):
        refuse(config)
    if "model" not in path:
        assert shown(tmp_path, tree(tmp_path), "--set", override, "--deep").exit_code == 1


def test_a_supervisor_does_not_look_for_the_files_of_workers_elsewhere(tmp_path: Path) -> None:
    runtime = {"engine": "ray", "ray_address": "ray://head:10001"}
    refuse(load_config(tree(tmp_path, source={"files": {"paths": ["/nowhere/a.mp4"]}}, runtime=runtime)))


def test_certificates_and_passwords_must_exist(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    security = {
        "protocol": "SASL_SSL",
        "username": "u",
        "password_file": str(tmp_path / "empty"),
        "ca_file": "/nowhere/ca.pem",
    }
    config = tree(tmp_path, source={"kafka": KAFKA["kafka"] | {"security": security}})
    assert [p.split(":")[0] for p in findings(config, "missing")] == ["source.kafka.security.ca_file"]
    assert [p.split(":")[0] for p in findings(config, "wrong")] == ["source.kafka.security.password_file"]


def test_a_key_that_every_user_can_read_gives_a_warning(tmp_path: Path) -> None:
    config = tree(tmp_path)
    assert findings(config, "warning") == []
    (tmp_path / "key").chmod(0o644)
    (warning,) = findings(config, "warning")
    assert warning.startswith("privacy.stream_id_key_file: ") and "0644" in warning and "chmod 600" in warning


def test_a_too_short_key_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"tooshort")
    (problem,) = findings(tree(tmp_path), "wrong")
    assert "less than 16 bytes" in problem and "tooshort" not in problem


@pytest.mark.parametrize("content", [b"text", base64.b64encode(b"k" * 16)])
def test_an_invalid_dead_letter_key_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "letters").write_bytes(content)
    config = tree(tmp_path, dead_letter={"encryption_key": f"file:{tmp_path / 'letters'}"})
    (problem,) = findings(config, "wrong")
    assert problem.startswith("dead_letter.encryption_key: ") and "32 bytes" in problem


@pytest.mark.parametrize("path", ["sink.path", "redact.preview_dir", "dead_letter.path"])
def test_a_folder_that_is_a_file_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for place in (tmp_path / "taken", tmp_path / "taken" / "below"):
        (problem,) = findings(tree(tmp_path), "wrong", f"{path}={place}")
        assert problem.startswith(f"{path}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    (problem,) = findings(tree(tmp_path), "missing", f"sink.path={tmp_path / 'closed' / 'rows'}")
    assert problem.startswith("sink.path: ")


def test_an_input_that_is_not_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    (problem,) = findings(tree(tmp_path), "wrong", f"source.files.paths=[{tmp_path / 'notes.mp4'}]")
    assert problem.startswith("source.files.paths: ") and "notes.mp4" in problem


def test_deep_connects_to_the_broker_and_reports_one_that_does_not_answer(tmp_path: Path) -> None:
    config = tree(tmp_path, source=KAFKA)
    assert shown(tmp_path, config).exit_code == 0
    result = shown(tmp_path, config, "--deep")
    assert result.exit_code == 1
    assert "  source.kafka: cannot use the Kafka broker at 127.0.0.1:1" in result.output


def test_deep_connects_to_triton(tmp_path: Path) -> None:
    serving = {"backend": "triton", "triton": {"url": "127.0.0.1:1"}, "deadline_s": 1, "retries": 0}
    (problem,) = findings(tree(tmp_path, serving=serving), "missing", deep=True)
    assert problem.startswith("serving.triton.url: no answer from Triton at 127.0.0.1:1")


@pytest.mark.parametrize(("status", "problems"), [(200, 0), (404, 1)])
def test_deep_connects_to_the_collector(status: int, problems: int, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        tracing = {"endpoint": f"http://127.0.0.1:{server.server_port}/v1/traces"}
        found = findings(tree(tmp_path, tracing=tracing), "missing", deep=True)
        server.shutdown()
        thread.join()
    assert [problem.split(":")[0] for problem in found] == ["tracing.endpoint"] * problems


def test_deep_leaves_no_files_behind(tmp_path: Path) -> None:
    before = {*tree(tmp_path), *os.listdir(tmp_path)}
    assert check(load_config(tree(tmp_path)), deep=True).of("missing") == []
    assert {*tree(tmp_path), *os.listdir(tmp_path)} == before
