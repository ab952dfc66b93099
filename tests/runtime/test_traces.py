"""Spans continue the trace of a chunk up to its commit, and exist only where tracing is configured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from helpers import runs
from helpers.astronaut import make_video

from streamfx.config.tracing import Tracing
from streamfx.pipeline import load_config
from streamfx.records import Partition, Record
from streamfx.runtime.traces import TracedDestination, Traces, make_provider, open_traces
from streamfx.runtime.worker import Worker
from streamfx.source.chunk import headers_for
from streamfx.source.publish import FolderDestination
from streamfx.source.streams import StreamChunk

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE_ID}-{PARENT_ID}-{flags}" for flags in ("01", "00"))
RECORD = Record(Partition("media", "id", 3), 41, 0, None, (), b"")


def kept(config: Tracing) -> tuple[Traces, Any]:
    """Traces as configured, and the exporter that holds their finished spans."""
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = make_provider(config)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Traces(provider), memory


def go_through(traces: Traces, traceparent: str | None) -> None:
    """Make the spans that a line makes for a chunk."""
    trace = traces.chunk(RECORD, traceparent)
    with trace.span("decode"):
        pass
    answer: Future[Any] = Future()
    trace.follow("expression", answer)
    trace.processed()
    answer.set_result({})
    trace.committed(since_ns=1)


def names(spans: Sequence[Any]) -> list[str]:
    return sorted(span.name for span in spans)


def test_every_span_is_a_child_of_the_chunks_span_in_its_trace() -> None:
    traces, memory = kept(Tracing(sample_share=1))
    go_through(traces, SAMPLED)
    spans = memory.get_finished_spans()
    assert names(spans) == ["chunk", "commit", "decode", "inference"]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE_ID}
    [root] = [span for span in spans if span.name == "chunk"]
    assert f"{root.parent.span_id:016x}" == PARENT_ID
    assert dict(root.attributes) == {"topic": "media", "partition": 3, "offset": 41}
    assert {span.parent.span_id for span in spans if span is not root} == {root.context.span_id}


def test_a_chunk_without_a_trace_begins_one() -> None:
    traces, memory = kept(Tracing(sample_share=1))
    go_through(traces, None)
    assert [span.parent for span in memory.get_finished_spans() if span.name == "chunk"] == [None]


@pytest.mark.parametrize(("share", "traceparent"), [(0, SAMPLED), (0, None), (1, NOT_SAMPLED)])
def test_unsampled_traces_are_not_sent(share: float, traceparent: str | None) -> None:
    traces, memory = kept(Tracing(sample_share=share))
    go_through(traces, traceparent)
    assert memory.get_finished_spans() == ()


def test_tracing_is_off_by_default_and_imports_nothing() -> None:
    program = (
        "import sys; from streamfx.config.tracing import Tracing; from streamfx.runtime.traces import open_traces; "
        "open_traces(Tracing()); sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_run_traces_each_chunk_to_its_commit(tmp_path: Path) -> None:
    make_video(tmp_path / "astronaut.mp4")
    done = runs.streamfx("publish", tmp_path / "astronaut.mp4", "--to", tmp_path / "chunks")
    assert done.returncode == 0, done.stderr
    headers = sorted((tmp_path / "chunks").rglob("*.json"))
    for file in headers:
        file.write_text(json.dumps({**json.loads(file.read_text()), "traceparent": SAMPLED}))
    worker = Worker(load_config(runs.tree(tmp_path, [tmp_path / "chunks"])))
    traces, memory = kept(Tracing(sample_share=1))
    worker.engine.parts = replace(worker.engine.parts, traces=traces)
    worker.run()
    spans = memory.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE_ID}
    assert names(spans).count("chunk") == names(spans).count("commit") == len(headers)
    assert names(spans).count("inference") == len(runs.rows(tmp_path / "data", "windows")) > 0


def test_a_published_chunk_begins_the_trace_that_its_reader_continues(tmp_path: Path) -> None:
    traces, memory = kept(Tracing(sample_share=1))
    given = headers_for("door", 0, 0, "video/mp4", end=True)
    chunk = StreamChunk(0, 0, 0, given, b"")
    destination = TracedDestination(FolderDestination(tmp_path), traces)
    destination.open("door")
    destination.put("door", chunk)
    [file] = tmp_path.rglob("*.json")
    written = json.loads(file.read_text())
    assert written.items() > {name: value.decode() for name, value in given}.items()
    go_through(traces, written["traceparent"])
    [publish] = [span for span in memory.get_finished_spans() if span.name == "publish"]
    [root] = [span for span in memory.get_finished_spans() if span.name == "chunk"]
    assert root.context.trace_id == publish.context.trace_id and root.parent.span_id == publish.context.span_id


def test_a_published_chunk_keeps_the_trace_it_has_and_gets_none_where_tracing_is_off(tmp_path: Path) -> None:
    traced = headers_for("door", 0, 0, "video/mp4", traceparent=SAMPLED)
    traces, memory = kept(Tracing(sample_share=1))
    with traces.publishing(traced) as headers:
        assert headers == traced
    bare = headers_for("door", 0, 0, "video/mp4")
    with Traces().publishing(bare) as headers:
        assert headers == bare
    assert memory.get_finished_spans() == ()


def test_spans_reach_a_collector_over_http() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'streamfx[otel]'")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    traces = open_traces(Tracing(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces", sample_share=1))
    go_through(traces, SAMPLED)
    traces.close()
    server.shutdown()
    server.server_close()
    import gzip

    got = ExportTraceServiceRequest()
    [body] = bodies
    got.ParseFromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    spans = [span for resource in got.resource_spans for scope in resource.scope_spans for span in scope.spans]
    assert names(spans) == ["chunk", "commit", "decode", "inference"]
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
