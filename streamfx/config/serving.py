"""The configuration's section `serving`: where the nets run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamfx.config.section import RELOADABLE, Address, Seconds, Section


class Triton(Section):
    """A Triton inference server."""

    url: Address = "127.0.0.1:8001"
    """gRPC address, `host:port`."""
    shared_memory: Literal["auto", "off"] = "auto"
    """`auto` passes tensors through system shared memory where server and worker share a machine and the server allows
    it."""
    ca_file: Path | None = None
    """PEM file of the certificate authority; TLS is used where it is given."""


Precision = Literal["fp32", "bf16", "int8"]


class ModelServing(Section):
    """What differs from `serving` for one model. A change needs a restart."""

    deadline_s: Annotated[Seconds | None, Field(gt=0, le=1e9)] = None
    """Seconds one request of this model may take. Each key that is left out is as in `serving`."""
    batch_size: Annotated[int | None, Field(ge=1, le=256)] = None
    """Windows this model takes at once in the worker itself."""
    in_flight: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Windows of this model that may be in flight at once before the worker waits."""
    retries: Annotated[int | None, Field(ge=0, le=100)] = None
    """Times a failed request of this model is repeated."""
    precision: Precision | None = None
    """Precision of this model."""


class Serving(Section):
    """Where the nets run, and how many requests they get at once."""

    backend: Literal["in_process", "triton"] = "in_process"
    """The nets in the worker itself, or behind a Triton server."""
    triton: Triton = Triton()
    """The server, with `backend: triton`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the in-process nets."""
    precision: Precision = "fp32"
    """What the models' ViT encoders compute in (docs/performance.md). `bf16` and `int8` are faster on a CPU and change
    scores a little, so they are part of `config_id`, and versions of models say them (`+int8`). A Triton server must be
    started with the same."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of the in-process nets; 0 leaves it to torch."""
    batch_size: Annotated[int, Field(ge=1, le=256), RELOADABLE] = 4
    """Windows the in-process nets take at once; Triton's is in its model configuration."""
    in_flight: Annotated[int, Field(ge=1, le=1024), RELOADABLE] = 16
    """Windows that may be in flight at once before the worker waits."""
    deadline_s: Annotated[Seconds, RELOADABLE] = 30.0
    """Seconds one request may take."""
    retries: Annotated[int, Field(ge=0, le=100), RELOADABLE] = 6
    """Times a failed request is repeated, with backoff, before the run stops with an error (nothing is lost)."""
    models: dict[str, ModelServing] = {}  # noqa: RUF012
    """Settings that differ for one served model, by its name, such as `expression`."""

    @property
    def precisions(self) -> dict[str, str]:
        """Served model -> its precision where that is not `precision`, which is under an empty name; empty where all
        models compute in float32."""
        own = {name: one.precision for name, one in self.models.items() if one.precision not in (None, self.precision)}
        return {"": self.precision, **own} if own or self.precision != "fp32" else {}

    def for_model(self, name: str) -> Serving:
        """The settings of the served model `name`, with what `models` says of it in its place.

        A value there stays as it was at the start: a change of it takes a restart, also where the key above is live.
        """
        own = self.models.get(name)
        return self.model_copy(update={"models": {}} | (own.model_dump(exclude_none=True) if own else {}))
