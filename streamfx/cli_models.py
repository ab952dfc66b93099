"""Commands on models: import, list, ask, and serve them with the local Triton."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from streamfx.errors import ModelError

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group()
def models() -> None:
    """Import, list and ask models."""


@models.group("import")
def import_() -> None:
    """Turn a checkpoint into a model directory."""


@import_.command("mma-dfer")
@click.argument("file", type=FILE)
@click.option("--out", type=DIRECTORY, required=True, help="Model directory to make.")
def import_mma_dfer_command(file: Path, out: Path) -> None:
    """Import FILE, a checkpoint of the MMA-DFER authors' layout."""
    from streamfx.train.import_checkpoint import import_mma_dfer

    report = import_mma_dfer(file, out)
    card = report.card
    click.echo(
        f"{report.directory}: {report.tensors} tensors, {card.sizes.classes} expressions, "
        f"{card.sizes.image_size} px, version {card.version}"
    )
    click.echo(report.note, err=True)


@models.command("list")
def list_command() -> None:
    """The models that come with streamfx."""
    from streamfx.serving.models import describe, list_models

    click.echo(describe(list_models()))


@models.command("logits")
@click.argument("directory", type=DIRECTORY)
@click.option("--frames", type=FILE, required=True, help="uint8 [1,16,3,S,S], a .npy file.")
@click.option("--fbank", type=FILE, required=True, help="float32 [1,1,512,128], a .npy file.")
def logits_command(directory: Path, frames: Path, fbank: Path) -> None:
    """The logits of the model in DIRECTORY for one window, as a JSON list."""
    from streamfx.serving.models import logits

    click.echo(json.dumps(logits(directory, _array(frames), _array(fbank))))


def _array(path: Path) -> npt.NDArray[np.generic]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: expected an array saved by numpy.save: {error}") from error
    if not isinstance(loaded, np.ndarray):
        raise ModelError(f"{path}: expected one array (.npy), got an archive of several")
    return loaded


@click.group()
def triton() -> None:
    """The local Triton server."""


@triton.command("serve")
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8001, show_default=True)
@click.option("--http-port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--metrics-port", type=click.IntRange(1, 65535), default=8002, show_default=True)
@click.option("--model", default=None, help="Model directory, or name of a shipped model, for `expression`.")
@click.option("--repository", type=DIRECTORY, default=None, help="Triton model repository  [default: the shipped one]")
@click.option(
    "--venv",
    type=DIRECTORY,
    default=None,
    help="Environment with the server  [default: $STREAMFX_TRITON_VENV, .venv-triton]",
)
def serve_command(
    grpc_port: int, http_port: int, metrics_port: int, model: str | None, repository: Path | None, venv: Path | None
) -> None:
    """Serve the models on this machine until SIGTERM or SIGINT."""
    from streamfx.serving.triton_server import serve

    sys.exit(serve(repository, http_port, grpc_port, metrics_port, {"expression": model} if model else {}, venv))
