"""`streamfx synth`: labelled synthetic talking faces."""

from __future__ import annotations

import os
from pathlib import Path

import click

from streamfx.cli.values import FiniteRange


@click.command("synth")
@click.option("--identities", type=click.IntRange(1), required=True, help="How many people.")
@click.option(
    "--clips", type=click.IntRange(1), required=True, help="How many clips, shared evenly between the people."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Equal seeds give equal sets."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The set's directory.")
@click.option(
    "--size", type=click.IntRange(64, 1024), default=256, show_default=True, help="Side of the pictures, pixels; even."
)
@click.option("--fps", type=FiniteRange(1, 60), default=25.0, show_default=True, help="Frames a second.")
@click.option("--seconds", type=FiniteRange(1, 60), default=3.0, show_default=True, help="Length of a clip.")
@click.option(
    "--only",
    multiple=True,
    metavar="KIND",
    help="Make only clips of this kind (frontal, turned, several, occluded, empty); may be given again.",
)
@click.option("--jobs", type=click.IntRange(1, 256), default=None, help="Processes that draw  [default: one a core]")
def synth(
    identities: int,
    clips: int,
    seed: int,
    out: Path,
    size: int,
    fps: float,
    seconds: float,
    only: tuple[str, ...],
    jobs: int | None,
) -> None:
    """Make clips of synthetic talking faces with the truth about every frame.

    Needs OpenGL through EGL and espeak-ng (on Debian: libegl1 libgl1-mesa-dri espeak-ng) and the packages of
    requirements/synth.txt. Run again after an interruption, it goes on where it stopped.
    """
    from pydantic import ValidationError

    from streamfx.synth.make import make_set
    from streamfx.synth.output import SetInfo

    try:
        info = SetInfo.model_validate(
            {"seed": seed, "identities": identities, "clips": clips, "fps": fps, "size": size, "seconds": seconds,
             "only": only}
        )  # fmt: skip
    except ValidationError as error:
        wrong = "; ".join(f"--{e['loc'][0]}: {e['msg']}, got {e['input']}" for e in error.errors())
        raise click.UsageError(wrong) from error
    sheet = make_set(info, out, jobs or len(os.sched_getaffinity(0)))
    click.echo(f"{clips} clips of {identities} people in {out}; some of them as one picture: {sheet}")
