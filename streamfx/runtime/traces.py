"""OpenTelemetry spans of a chunk's way: publish, then chunk, decode, inference and commit in the same trace. Off by
default.

The SDK is imported only where `tracing.endpoint` is set. A span carries the topic, partition and offset, and never a
stream id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamfx.config.tracing import Tracing
from streamfx.errors import MissingComponent
from streamfx.records import Record
from streamfx.source.chunk import TRACEPARENT, Headers

if TYPE_CHECKING:
    # A worker does without the publisher's libraries.
    from streamfx.source.publish import Destination
    from streamfx.source.streams import StreamChunk


class ChunkTrace:
    """The spans of one chunk; one made without a tracer does nothing."""

    def __init__(self, tracer: Any = None, parent: Any = None, attributes: dict[str, Any] | None = None):
        self._tracer = tracer
        if tracer is not None:
            from opentelemetry import trace

            self._root = tracer.start_span("chunk", parent, attributes=attributes)
            self._inside = trace.set_span_in_context(self._root)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """A span around the body; it ends with an error where the body raises."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name, self._inside, record_exception=False):
            yield

    def follow(self, operator: str, future: Future[Any]) -> None:
        """The span `inference` of what an operator has asked, from now until the answer."""
        if self._tracer is not None:
            span = self._tracer.start_span("inference", self._inside, attributes={"operator": operator})
            future.add_done_callback(lambda _: span.end())

    def processed(self) -> None:
        """The line is done with the chunk; it is not committed yet."""
        if self._tracer is not None:
            self._root.end()

    def committed(self, since_ns: int) -> None:
        """The span `commit`, from `since_ns` (`time.time_ns`) until now."""
        if self._tracer is not None:
            self._tracer.start_span("commit", self._inside, start_time=since_ns).end(time.time_ns())


class Traces:
    """Where spans go; without a provider, nowhere, at no cost."""

    def __init__(self, provider: Any = None):
        self._provider = provider
        self._tracer = provider.get_tracer("streamfx") if provider is not None else None

    def chunk(self, record: Record, traceparent: str | None) -> ChunkTrace:
        """Begin the span of a chunk, in the trace that its header names or in a new one."""
        if self._tracer is None:
            return ChunkTrace()
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent} if traceparent else {})
        where = {"topic": record.partition.topic, "partition": record.partition.number, "offset": record.offset}
        return ChunkTrace(self._tracer, parent, where)

    @contextmanager
    def publishing(self, headers: Headers) -> Iterator[Headers]:
        """The span `publish` around the body, and the headers that carry its trace on. A chunk that has a trace keeps
        it."""
        if self._tracer is None or TRACEPARENT in dict(headers):
            yield headers
            return
        with self._tracer.start_as_current_span("publish", record_exception=False) as span:
            own = span.get_span_context()
            value = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
            yield (*headers, (TRACEPARENT, value.encode()))

    def close(self) -> None:
        """Send what waits."""
        if self._provider is not None:
            self._provider.shutdown()


class TracedDestination:
    """A destination whose chunks each begin a trace, which readers continue."""

    def __init__(self, destination: Destination, traces: Traces):
        self._destination, self._traces = destination, traces

    def open(self, stream_id: str) -> None:
        """As the destination does."""
        self._destination.open(stream_id)

    def put(self, stream_id: str, chunk: StreamChunk) -> bool:
        """As the destination does, within the span `publish`."""
        with self._traces.publishing(chunk.headers) as headers:
            return self._destination.put(stream_id, replace(chunk, headers=headers))

    def flush(self) -> None:
        """As the destination does."""
        self._destination.flush()

    def close(self) -> None:
        """As the destination does."""
        self._destination.close()


def open_traces(config: Tracing) -> Traces:
    """Spans to `tracing.endpoint`. Raises MissingComponent where the packages are not installed."""
    if config.endpoint is None:
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingComponent(
            f"tracing.endpoint is set and {error.name} is not installed: pip install 'streamfx[otel]'"
        ) from error
    provider = make_provider(config)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=config.endpoint)))
    return Traces(provider)


def make_provider(config: Tracing) -> Any:
    """A provider that keeps `tracing.sample_share` of the traces, chosen by trace id, so that all workers choose
    alike."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    share = TraceIdRatioBased(config.sample_share)
    sampler = ParentBased(share, remote_parent_sampled=share)
    return TracerProvider(sampler, Resource.create({"service.name": "streamfx"}))
