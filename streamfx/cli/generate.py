"""`streamfx generate`: a face that nobody has, by a description, from a trained UniF2ace."""

from __future__ import annotations

from pathlib import Path

import click

from streamfx.errors import ConfigError


@click.command()
@click.argument("description")
@click.option("--model", type=click.Path(path_type=Path), default=Path("out/train/unif2ace"), show_default=True,
              help="Folder or file that `streamfx train unif2ace` wrote.")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed draws another face."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG to write.")
@click.option(
    "--count", type=click.IntRange(1, 64), default=1, show_default=True, help="How many faces, eight in a row."
)
def generate(description: str, model: Path, seed: int, out: Path, count: int) -> None:
    """Draw a face by DESCRIPTION, for instance "a smiling woman with glasses".

    Faces are drawn as the synthetic ones that the model learned from, never as photographs, and nobody's face can be asked
    for: no picture goes in. Words that the model does not know are named and left out.
    """
    from streamfx.train.unif2ace.faces import write_sheet
    from streamfx.train.unif2ace.run import load_unif2ace

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out: expected a name that ends in .png, got {out}")
    drawer = load_unif2ace(model)
    unknown = drawer.words.unknown(description)
    if len(drawer.words.drawing(description)) < 2:
        raise ConfigError(
            f"expected a description in words that the model learned, such as smiling or glasses, got {description!r}"
        )
    if unknown:
        click.echo(f"not known, and left out: {', '.join(dict.fromkeys(unknown))}", err=True)
    faces = drawer.draw([description] * count, seed)
    try:
        write_sheet(out, faces, min(count, 8))
    except OSError as error:
        raise ConfigError(f"--out: cannot write {out}: {error.strerror or error}") from error
    click.echo(f"drawn: {out}")
