"""`streamfx train face-qa`: questions and answers about faces, which train a Face-MLLM."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streamfx.train.face_qa.build import Asking
    from streamfx.train.face_qa.endpoint import Estimate

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("face-qa")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the set.")
@click.option("--drawn", type=_FOLDER, multiple=True, help="A set by `streamfx synth`; may be given again.")
@click.option("--validation", type=_FOLDER, multiple=True, help="A drawn set whose people are all for validation.")
@click.option("--test", type=_FOLDER, multiple=True, help="A drawn set whose people are all for the test.")
@click.option("--celeba", type=_FOLDER, help="CelebA's folder.")
@click.option("--raf-db", type=_FOLDER, help="RAF-DB's folder.")
@click.option("--affectnet", type=_FOLDER, help="AffectNet's folder.")
@click.option("--utkface", type=_FOLDER, help="UTKFace's folder.")
@click.option("--disfa", type=_FILE, help="DISFA's list of frames, beside the folders of its pictures.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Equal seeds, equal sets."
)
@click.option("--captions-from", metavar="URL", help="Base of an OpenAI-compatible API whose model writes captions.")
@click.option("--captions-model", metavar="NAME", help="Which of its models.")
@click.option(
    "--captions-key",
    metavar="VARIABLE",
    default="OPENAI_API_KEY",
    show_default=True,
    help="Environment variable that holds its key, if it needs one.",
)
@click.option("--captions-of-real-people", is_flag=True, help="Send pictures of real people too; only if you may.")
@click.option(
    "--correct-by",
    metavar="MODEL",
    default="",
    help="A model for attributes, a name or a directory: captions of labelled pictures are also corrected by what it surely "
    "sees.",
)
@click.option("--yes", is_flag=True, help="Agree to the estimate of what captions cost; it is shown all the same.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def face_qa_command(
    out: Path,
    drawn: tuple[Path, ...],
    validation: tuple[Path, ...],
    test: tuple[Path, ...],
    seed: int,
    captions_from: str | None,
    captions_model: str | None,
    captions_key: str,
    captions_of_real_people: bool,
    correct_by: str,
    yes: bool,
    as_json: bool,
    **labelled: Path | None,
) -> None:
    """Make questions and answers about faces, from drawn sets and labelled ones, for training a Face-MLLM.

    Writes questions.parquet, images.parquet and DATA_CARD.md into the folder --out. A tenth of a drawn set's people each
    is for validation and for the test, unless these have sets of their own. Writes nothing if the splits leak.
    """
    if bool(captions_from) != bool(captions_model):
        raise click.UsageError("--captions-from and --captions-model go together")
    if correct_by and not captions_from:
        raise click.UsageError("--correct-by goes with --captions-from: the grammar's captions need no correction")
    from streamfx.train.face_qa.build import Sources, make_questions

    given = {name.replace("_", "-"): root for name, root in labelled.items() if root is not None}
    sources = Sources(drawn, validation, test, given)
    asking: Asking | None = None
    if captions_from and captions_model:
        from streamfx.train.face_qa.build import Asking
        from streamfx.train.face_qa.endpoint import Captioner

        captioner = Captioner(captions_from, captions_model, os.environ.get(captions_key) or None, out / "captions")
        asking = Asking(
            captioner, captions_model, lambda estimate: _agreed(estimate, yes), captions_of_real_people, correct_by
        )
    questions, images = make_questions(sources, out, seed, asking)
    if as_json:
        by_split = {str(split): int(count) for split, count in questions["split"].value_counts().sort_index().items()}
        click.echo(json.dumps({"pictures": len(images), "questions": len(questions), "by_split": by_split}))
    else:
        click.echo(f"{len(questions):,} questions about {len(images):,} pictures in {out}; see {out / 'DATA_CARD.md'}")


def _agreed(estimate: Estimate, yes: bool) -> bool:
    """Show what it costs, and ask; where nobody can be asked, only `--yes` agrees."""
    click.echo(str(estimate), err=True)
    if yes or not estimate.pictures:
        return True
    return sys.stdin.isatty() and click.confirm("Ask for these captions?", err=True)
