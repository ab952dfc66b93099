"""The configuration's section `tracing`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streamfx.config.section import HttpUrl, Section


class Tracing(Section):
    """OpenTelemetry traces that continue a chunk's `traceparent` header."""

    endpoint: HttpUrl | None = None
    """OTLP over HTTP, such as `http://collector:4318/v1/traces`; default: no traces. Needs `streamfx[otel]`."""
    sample_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the traces that are kept, by trace id; one that its publisher did not sample never is."""
