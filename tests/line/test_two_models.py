"""Two operators with a model each in one pipeline: one of streamfx, one of a foreign package (`tests/foreign`).

On the real line: Kafka, two Ray workers, and one Triton server that serves both.
"""

from __future__ import annotations

import shutil
import textwrap
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fastparquet
import numpy as np
import pytest
from helpers import runs
from helpers.default_model import default_model
from helpers.foreign import INSTALLED, TRITON, light_model, light_of_size
from helpers.kafka import Broker
from helpers.ports import free_ports as unused_ports
from helpers.triton import expression_alone, free_ports, require_triton
from prometheus_client.parser import text_string_to_metric_families

from streamfx.models import frames
from streamfx.pipeline import load_config
from streamfx.runtime.worker import Worker
from streamfx.serving.triton_server import LocalTriton

SIDE = 112
"""What `expression-small` takes, and `light` here too."""
PIPELINE = ["faces", "windows", "expression", "light", "redact"]
STREAMS, WORKERS, WAIT_S, CHUNK_S = 4, 2, 240.0, 1.0
LAMP = "the lamp is broken"
Samples = Counter[tuple[str, frozenset[tuple[str, str]]]]


def real(test: Any) -> Any:
    """Marks a test of the real line."""
    for mark in (pytest.mark.kafka, pytest.mark.ray, pytest.mark.triton, pytest.mark.timeout(900)):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def light() -> Iterator[Any]:
    """The class of the foreign model, in a process where its package is installed."""
    with light_model() as model:
        yield model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a `light` that takes frames of the same side as `expression-small`."""
    return light_of_size(tmp_path_factory.mktemp("weights") / "light", SIDE)


@pytest.fixture(scope="module")
def clips(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The clip as several streams."""
    folder = tmp_path_factory.mktemp("clips")
    made = [folder / f"stream-{number}{clip.suffix}" for number in range(STREAMS)]
    for path in made:
        path.symlink_to(clip)
    return made


def tree(folder: Path, paths: list[Path], weights: Path, **sections: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    config = runs.tree(folder, paths, **({"light": {"model": str(weights)}} | sections))
    return config | {"pipeline": PIPELINE}


def scores(dataset: Path) -> dict[Any, dict[str, float]]:
    """Key of a window -> its scores of both operators."""
    named = ("p_", "light")
    return {
        tuple(row[name] for name in runs.KEY_COLUMNS): {
            name: value for name, value in row.items() if name.startswith(named) and isinstance(value, float)
        }
        for row in runs.rows(dataset, "windows")
    }


def assert_same_scores(one: Path, other: Path) -> None:
    first, second = scores(one), scores(other)
    assert first.keys() == second.keys() and first
    for key, values in first.items():
        assert values.keys() == second[key].keys() >= {"light", "p_happiness"}
        np.testing.assert_allclose(list(values.values()), list(second[key].values()), atol=1e-4, rtol=0)


def footers(dataset: Path) -> set[tuple[str, str]]:
    """What the files with windows say of the models that scored them."""
    files = [fastparquet.ParquetFile(str(path)) for path in (dataset / "windows").rglob("*.parquet")]
    return {(key, file.key_value_metadata[key]) for file in files for key, _ in BOTH}


BOTH = {("streamfx.expression.model", default_model()), ("streamfx.light.model", "light-1")}


# In one process.


def test_frames_of_one_side_are_made_once_a_window_for_both(
    light: Any, weights: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    resize = frames.to_model_size
    monkeypatch.setattr(frames, "to_model_size", lambda pixels, side: made.append(side) or resize(pixels, side))
    worker = Worker(load_config(tree(tmp_path / "run", [clip], weights)))
    status = worker.run()
    assert made == [SIDE] * status.windows and status.windows > 0
    assert footers(tmp_path / "run" / "data") == BOTH
    registry = worker.engine.parts.metrics.registry
    for operator in ("expression", "light"):
        labels = {"operator": operator}
        assert registry.get_sample_value("streamfx_inference_seconds_count", labels) == status.windows
        assert registry.get_sample_value("streamfx_inflight_requests", labels) == 0


@pytest.mark.parametrize("unforeseen", [False, True], ids=["the net", "its inputs"])
def test_one_model_that_fails_is_named_in_the_error_of_the_run(
    light: Any, weights: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unforeseen: bool
) -> None:
    def fails(*_: object) -> Any:
        raise RuntimeError(LAMP)

    monkeypatch.setattr(light, "inputs" if unforeseen else "forward", classmethod(fails) if unforeseen else fails)
    worker = Worker(load_config(tree(tmp_path / "run", [clip], weights)))
    with pytest.raises(Exception, match=LAMP) as caught:
        worker.run()
    texts = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    assert any("light, model light-1" in text for text in texts), texts
    assert not runs.rows(tmp_path / "run" / "data", "windows"), "a row without its scores"


# The real line.


@pytest.fixture(scope="module")
def in_process(light: Any, weights: Path, clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of a run over the same files in one process."""
    folder = tmp_path_factory.mktemp("here") / "run"
    config = tree(folder, clips, weights)
    config["source"]["files"]["chunk_s"] = CHUNK_S  # a clip that is encoded anew differs by how it is cut
    done = runs.streamfx("run", runs.write_config(folder, config), env=INSTALLED)
    assert done.returncode == 0, done.stderr
    return folder / "data"


@pytest.fixture
def published(broker: Broker, clips: list[Path]) -> str:
    """A topic with the clips."""
    topic = broker.create_topic(partitions=4)
    to = ("--topic", topic, "--bootstrap", broker.bootstrap, "--start", runs.START, "--chunk-s", CHUNK_S)
    done = runs.streamfx("publish", *clips, *to)
    assert done.returncode == 0, done.stderr
    return topic


def line_config(folder: Path, broker: Broker, topic: str, url: str, weights: Path, **runtime: Any) -> Path:
    config = tree(folder, [], weights)
    kafka = {"bootstrap": broker.bootstrap, "topic": topic, "group": f"g-{topic}", "session_timeout_s": 6}
    config["source"] = {"kafka": kafka}
    config["runtime"] = {"engine": "ray", "workers": WORKERS, "worker_cpus": 0.5, **runtime}
    own = {"light": {"in_flight": 4}}
    config["serving"] = {"backend": "triton", "triton": {"url": url}, "threads": 1, "models": own}
    config["serving"]["deadline_s"] = runs.PATIENCE_S
    config["sink"] |= {"roll_chunks": 2}
    return runs.write_config(folder, config)


def served_at(port: int) -> Samples:
    """All samples that a worker serves at the port now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return Counter(
        {
            (sample.name, frozenset(sample.labels.items())): int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def run_and_watch(config: Path, port: int) -> Samples:
    """Run to the end; what all workers together served last, when all was scored and they waited for more."""
    running = runs.start("run", config, "--quiet", "--until-idle", "6s", env=INSTALLED)
    last: dict[int, Samples] = {}
    give_up = time.monotonic() + WAIT_S
    try:
        while running.poll() is None:
            assert time.monotonic() < give_up
            for each in range(port, port + WORKERS + 1):
                with suppress(OSError):
                    last[each] = served_at(each)
            time.sleep(0.3)
        _, output = running.communicate()
    finally:
        running.kill()
    assert running.returncode == 0, output
    total: Samples = Counter()
    for samples in last.values():
        total.update(samples)
    return total


@real
def test_each_window_is_uploaded_once_and_scored_by_both(
    in_process: Path, light: Any, weights: Path, broker: Broker, published: str, tmp_path: Path
) -> None:
    require_triton()
    port, *_ = unused_ports(3)  # the supervisor's, and one for each of two workers
    server = LocalTriton(free_ports(), {"light": str(weights)}, expression_alone(), also=[TRITON])
    try:
        config = line_config(tmp_path / "run", broker, published, server.grpc_url, weights, metrics_port=port)
        seen = run_and_watch(config, port)
    finally:
        server.stop(gently=False)
    data = tmp_path / "run" / "data"
    report = runs.verified(data, "--bootstrap", broker.bootstrap, "--topic", published)
    windows = report["rows"]["windows"]
    assert windows == sum(runs.keys(in_process).values()) > 0
    assert_same_scores(data, in_process)
    assert footers(data) == BOTH

    def counted(name: str, **labels: str) -> int:
        return seen[name, frozenset(labels.items())]

    assert counted("streamfx_windows_total") == windows
    assert counted("streamfx_uploads_total", tensor="frames", way="shared_memory") == windows
    frame_bytes = 16 * 3 * SIDE * SIDE
    assert counted("streamfx_uploaded_bytes_total", tensor="frames", way="shared_memory") == windows * frame_bytes
    for operator in ("expression", "light"):
        assert counted("streamfx_inference_seconds_count", operator=operator) == windows
        assert counted("streamfx_inflight_requests", operator=operator) == 0
    versions = {(row["expression_model_version"], row["light_model_version"]) for row in runs.rows(data, "windows")}
    [(of_expression, of_light)] = versions
    assert of_expression.startswith("sha256-") and of_light.startswith("1-"), (
        "its card has no seal, so a digest of its sizes and labels is added"
    )


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A Triton repository whose `light` answers some windows and fails from then on."""
    folder = tmp_path / "broken"
    shutil.copytree(TRITON, folder)
    (folder / "light" / "1" / "model.py").write_text(
        textwrap.dedent(f"""
        from light.model import LightModel
        from streamfx.serving.triton_model import TritonModel


        class Breaks(LightModel):
            answered = 0

            def forward(self, batch):
                self.answered += len(batch["frames"])
                if self.answered > 10:
                    raise RuntimeError("{LAMP}")
                return super().forward(batch)


        class TritonPythonModel(TritonModel):
            model = Breaks
        """)
    )
    return folder


@real
def test_one_model_that_fails_ends_the_run_by_name_and_the_mended_run_loses_nothing(
    in_process: Path, light: Any, weights: Path, broken: Path, broker: Broker, published: str, tmp_path: Path
) -> None:
    require_triton()
    ports, data = free_ports(), tmp_path / "run" / "data"
    server = LocalTriton(ports, {"light": str(weights)}, expression_alone(), also=[broken])
    try:
        config = line_config(tmp_path / "run", broker, published, server.grpc_url, weights)
        failed = runs.streamfx("run", config, "--quiet", "--until-idle", "5s", env=INSTALLED)
    finally:
        server.stop(gently=False)
    assert failed.returncode == 1, failed.stderr
    assert f"light, model light-1: Triton at {server.grpc_url}, model 'light'" in failed.stderr, failed.stderr
    assert LAMP in failed.stderr and "Traceback" not in failed.stderr, failed.stderr
    assert "expression, model" not in failed.stderr
    before = scores(data)
    server = LocalTriton(ports, {"light": str(weights)}, expression_alone(), also=[TRITON])
    try:
        mended = runs.streamfx("run", config, "--quiet", "--until-idle", "5s", env=INSTALLED)
    finally:
        server.stop(gently=False)
    assert mended.returncode == 0, mended.stderr
    runs.verified(data, "--bootstrap", broker.bootstrap, "--topic", published)
    assert before.items() <= scores(data).items(), "what was committed before it failed stays"
    assert len(before) < len(scores(data))
    assert_same_scores(data, in_process)
