"""`streamfx ask`: a question about the faces in a picture or a video."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streamfx.cli.ask_faces import SeenFace

_YES_OR_NO = re.compile(r"(?:is|are|was|does|do|did|has|have|can|could|may|will)\b", re.IGNORECASE)


@click.command()
@click.argument("source", metavar="IMAGE|VIDEO", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("question")
@click.option(
    "--answers",
    multiple=True,
    metavar="A,B,...",
    help="The answers to choose from; may be repeated  [default: yes,no, for a question that can be answered so]",
)
@click.option(
    "--model",
    default="ask",
    show_default=True,
    help="Model directory, as `streamfx train face-mllm` makes it, or the name of a shipped model.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ask(source: Path, question: str, answers: tuple[str, ...], model: str, as_json: bool) -> None:
    """Ask QUESTION, in English, about each face in IMAGE|VIDEO, and print the likeliest of the answers.

    Each line says the answer, its probability among the answers, and the face and moment looked at: of each face in a video,
    where it is seen best. Questions may be about what can be seen, such as expression, glasses, hair or light; docs/ask.md
    says what is refused. Exit 1 where a question is refused, or there is no face.
    """
    choices = choices_of(question, answers)
    from streamfx.cli.ask_faces import faces_in
    from streamfx.config.serving import Serving
    from streamfx.models.ask import ASKED, SCORES, TOKENS, VOCABULARY, AskModel, words_file
    from streamfx.models.card import resolve_model
    from streamfx.models.prompt import Prompt, chosen
    from streamfx.serving.client import open_model
    from streamfx.serving.words import FileWords

    directory = resolve_model(model, AskModel.shelf, AskModel.architecture)
    info, asked = AskModel.read_card(directory).info, [(question, choices)]
    words = FileWords(words_file(info, directory), info.facts[VOCABULARY])
    faces = faces_in(source)
    request = Prompt(words, info.facts[TOKENS]).request(asked)
    client = open_model(AskModel, str(directory), Serving())
    try:
        under_way = [client.submit({**AskModel.inputs(one.window, info), ASKED: request}) for one in faces]
        said = [chosen(answer.result()[SCORES], asked)[0] for answer in under_way]
    finally:
        client.close()
    if as_json:
        about = {"file": str(source), "question": question, "answers": list(choices)}
        told = [
            {"answer": answer, "probability": round(share, 4), "time_s": one.time_s, "box": list(one.box)}
            for one, (answer, share) in zip(faces, said, strict=True)
        ]
        click.echo(json.dumps({**about, "model": info.name, "model_version": info.version, "faces": told}))
        return
    tell(faces, said)


def tell(faces: Sequence[SeenFace], said: Sequence[tuple[str, float]]) -> None:
    """Print a line for each face: the answer and its probability, and where the face is."""
    for number, (one, (answer, share)) in enumerate(zip(faces, said, strict=True), 1):
        click.echo(f"{answer}  {share:.2f}  {_where(number, len(faces), one)}")


def choices_of(question: str, given: Sequence[str]) -> tuple[str, ...]:
    """The answers to choose from, as `--answers` gave them, or yes and no. UsageError where there are none, PrivacyRefusal for
    a question that may not be asked of a face, or is sensitive."""
    choices = _answers(question, given)
    from streamfx.errors import PrivacyRefusal
    from streamfx.privacy.questions import check_question, sensitive_kind

    check_question(question, choices)
    if kind := sensitive_kind(question, choices):
        raise PrivacyRefusal(
            f"a question about {kind} is sensitive: it is answered only in a pipeline whose `privacy.sensitive` says why "
            "(docs/ask.md); expected a question about something else"
        )
    return choices


def _where(number: int, faces: int, face: SeenFace) -> str:
    x0, y0, x1, y1 = face.box
    moment = "" if face.time_s is None else f", at {face.time_s:.2f} s"
    return f"face {number} of {faces}, pixels {x0},{y0} to {x1},{y1}{moment}"


def _answers(question: str, given: Sequence[str]) -> tuple[str, ...]:
    choices = tuple(one.strip() for text in given for one in text.split(",") if one.strip())
    if not choices and _YES_OR_NO.match(question.strip()):
        return ("yes", "no")
    if len(set(choices)) < 2 or len(set(choices)) < len(choices):
        raise click.UsageError(
            f"expected at least two different answers to choose from, got {', '.join(choices) or 'none'}; give them, such as "
            '--answers "happy,sad,neutral". Only what can be answered by yes or no needs none'
        )
    return choices
