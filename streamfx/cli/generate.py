"""`streamfx generate`: a face that nobody has, drawn by a description, or a question about faces, by one trained UniF2ace."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from streamfx.errors import ConfigError

_DRAWS, _READS = ("out", "seed", "count"), ("answers",)


@click.command()
@click.argument("text")
@click.option("--model", default="unif2ace", show_default=True, help="Model directory, or the name of a shipped model.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed draws another face."
)
@click.option("--out", type=click.Path(path_type=Path), help="PNG to write.")
@click.option(
    "--count", type=click.IntRange(1, 64), default=1, show_default=True, help="How many faces, eight in a row."
)
@click.option(
    "--read",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="IMAGE|VIDEO",
    help="Draw nothing; answer TEXT, a question, about each face in this file.",
)
@click.option(
    "--answers",
    multiple=True,
    metavar="A,B,...",
    help="With --read, the answers to choose from; may be repeated  [default: yes,no, for a question that can be answered so]",
)
@click.pass_context
def generate(
    ctx: click.Context, text: str, model: str, seed: int, out: Path | None, count: int, read: Path | None,
    answers: tuple[str, ...],
) -> None:  # fmt: skip
    """Draw a face by TEXT, for instance "a smiling woman with glasses", or, with --read, answer a question.

    Faces are drawn as the synthetic ones that the model learned from, never as photographs, and nobody's face can be asked
    for: no picture goes in. Words that the model does not know are named and left out. Questions are held to the rules of
    `streamfx ask`. Exit 1 where a question is refused, or there is no face.
    """
    odd = [
        name for name in (_DRAWS if read else _READS) if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if odd:
        raise click.UsageError(f"--{odd[0]} is {'not for' if read else 'only for'} --read; leave it out")
    if read:
        _answer(model, read, text, answers)
    elif out is None:
        raise click.UsageError(
            "expected --out FILE.png, where the face is to be drawn, or --read FILE, to ask about a face"
        )
    else:
        _draw(model, text, seed, out, count)


def _draw(name: str, description: str, seed: int, out: Path, count: int) -> None:
    from streamfx.models.card import find_directory
    from streamfx.models.unif2ace import UniF2aceModel
    from streamfx.train.unif2ace.faces import write_sheet

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out: expected a name that ends in .png, got {out}")
    model = UniF2aceModel.load(find_directory(name, architecture=UniF2aceModel.architecture))
    if len(model.words.drawing(description)) < 2:
        raise ConfigError(
            f"expected a description in words that the model learned, such as smiling or glasses, got {description!r}"
        )
    _say_unknown(model.words.unknown(description), "left out")
    try:
        write_sheet(out, model.draw([description] * count, seed), min(count, 8))
    except OSError as error:
        raise ConfigError(f"--out: cannot write {out}: {error.strerror or error}") from error
    click.echo(f"drawn: {out}")


def _answer(name: str, source: Path, question: str, answers: tuple[str, ...]) -> None:
    from streamfx.cli.ask import choices_of, tell

    choices = choices_of(question, answers)
    import numpy as np

    from streamfx.cli.ask_faces import faces_in
    from streamfx.models.ask import frame_asked
    from streamfx.models.card import find_directory
    from streamfx.models.frames import sized_frames
    from streamfx.models.prompt import chosen
    from streamfx.models.unif2ace import UniF2aceModel
    from streamfx.train.unif2ace.look import looked_at, tower_of

    model = UniF2aceModel.load(find_directory(name, architecture=UniF2aceModel.architecture))
    for one in choices:
        if unknown := model.words.unknown(one):
            raise ConfigError(
                f"--answers: expected words that the model learned, got {one!r} with {', '.join(unknown)}; `streamfx ask` has "
                "more words"
            )
    if not model.fits(question, choices):
        raise ConfigError(
            "expected a shorter question, with shorter answers: this one is longer than what the model reads"
        )
    tower = tower_of(model)
    faces = faces_in(source)
    _say_unknown(model.words.unknown(question), "read as blanks")
    cut = [sized_frames(one.window, tower.sizes.image_size)[frame_asked(one.window.present)] for one in faces]
    [scores] = model.scores(*looked_at(model, tower, np.stack(cut)), [(question, choices)])
    tell(faces, [chosen(row.numpy(), [(question, choices)])[0] for row in scores])


def _say_unknown(words: list[str], fate: str) -> None:
    if words:
        click.echo(f"not known, and {fate}: {', '.join(dict.fromkeys(words))}", err=True)
