"""The commands in the documentation: Helm's render the chart, and streamfx's are valid for its command line."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from helpers.chart import CHART, REPO, SMALLEST, call

from streamfx.cli.main import main

PAGES = [
    REPO / "README.md",
    REPO / "k8s" / "README.md",
    *sorted((REPO / "docs").glob("*.md")),
    *sorted((REPO / "examples").rglob("*.md")),
]
VALUES = ("-f", "--set", "--set-file", "--set-json", "--set-literal")


def blocks(page: Path) -> Iterator[str]:
    """The lines in a page's code blocks, indented or fenced; continued lines joined."""
    fenced = False
    for line in page.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words of each `program …` in a line, also after `&&`, `;`, `--` or `do`."""
    for found in re.finditer(rf"(?:^|&& |; |-- |\$ ){program} (.*)", text):
        words = shlex.shlex(found[1], posix=True, punctuation_chars="&|;>")
        words.whitespace_split, words.commenters = True, "#"
        before: list[str] = []
        for word in words:
            if set(word) <= set("&|;>"):
                break
            before.append(word)
        yield before


def in_blocks(program: str) -> list[tuple[str, list[str]]]:
    return [(page.name, words) for page in PAGES for line in blocks(page) for words in commands(line, program)]


def inline() -> list[tuple[str, list[str]]]:
    """Each `streamfx …` inside a sentence or a table, where arguments may be left out."""
    spans = [(page.name, span) for page in PAGES for span in re.findall(r"`(streamfx [^`\n]+)`", page.read_text())]
    return [(name, words) for name, span in spans for words in commands(span, "streamfx")]


def understood(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and its arguments."""
    command: click.Command = main
    left = list(words)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        name = left.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"streamfx has no command {name}"
        command = found
    return command, left


@pytest.mark.parametrize(("page", "words"), in_blocks("streamfx"), ids=lambda value: str(value)[:60])
def test_a_streamfx_command_in_a_code_block_is_valid(page: str, words: list[str]) -> None:
    command, left = understood(words)
    try:
        command.make_context(command.name, left)
    except click.BadParameter as error:
        # A page may name a file of the reader's own.
        assert error.param is not None and isinstance(error.param.type, click.Path), f"{page}: {error.format_message()}"


@pytest.mark.parametrize(("page", "words"), inline(), ids=lambda value: str(value)[:60])
def test_a_streamfx_command_in_a_sentence_has_options_that_exist(page: str, words: list[str]) -> None:
    if "|" in words or "…" in " ".join(words):
        return
    command, left = understood(words)
    known = {"--help"} | {option for param in command.params for option in [*param.opts, *param.secondary_opts]}
    assert {word for word in left if word.startswith("--")} <= known, page


def helm_commands() -> list[tuple[str, list[str]]]:
    return [(page, words) for page, words in in_blocks("helm") if CHART.relative_to(REPO).as_posix() in words]


@pytest.mark.parametrize(("page", "words"), helm_commands(), ids=lambda value: str(value)[:60])
def test_a_helm_command_renders_the_chart(page: str, words: list[str]) -> None:
    values = [part for flag, value in itertools.pairwise(words) if flag in VALUES for part in (flag, value)]
    # An upgrade may reuse the values of the release; an installation must give all.
    before = ("-f", SMALLEST) if "--reset-then-reuse-values" in words else ()
    done = call("helm", "template", "demo", CHART, *before, *values, cwd=REPO)
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert "\nkind: Deployment" in done.stdout


def test_the_pages_contain_commands() -> None:
    assert len([page for page, _ in helm_commands() if page == "deploy.md"]) >= 5
    assert len(in_blocks("streamfx")) > 20 and len(inline()) > 20
