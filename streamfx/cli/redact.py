"""`streamfx redact`: copies of videos in which every face is filled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamfx.cli.left_out import EXIT_CODES, exit_if_left_out, say_left_out
from streamfx.terminal import ProgressBar, say, tidy_when_ended

if TYPE_CHECKING:
    from streamfx.redaction.film import FilmFrame
    from streamfx.redaction.redact import Progress, Redacted
    from streamfx.redaction.surrogates import Drawing


@click.command(epilog=EXIT_CODES)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the redacted films."
)
@click.option(
    "--fill",
    "fill_name",
    type=click.Choice(["solid", "surrogate", "pixelate", "blur"]),
    default="solid",
    show_default=True,
    help="What takes the place of faces; all but solid leave something of them. surrogate: a drawn face inside the solid "
    "fill, which is nobody's and moves as the person's does.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="NAME",
    help="A detector of your own for what else is filled, such as number plates; may be repeated (docs/redact.md).",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each video.")
def redact(videos: tuple[Path, ...], out: Path, fill_name: str, also: tuple[str, ...], as_json: bool) -> None:
    """Write a copy of each VIDEO with every face filled: OUT/<its name>.mp4, H.264 as browsers play it.

    Each frame is looked at; faces are followed forward and backward in time, and held where they are lost. Where the
    detector fails, the whole frame is filled. Sound, subtitles, chapters, metadata and thumbnails are left behind. A
    copy appears when it is complete; after an error, Ctrl-C or SIGTERM there is none.
    """
    tidy_when_ended()
    targets = _targets(videos, out)
    from streamfx.detection.also import film_detector
    from streamfx.errors import RedactionError, SourceError
    from streamfx.privacy.fills import FILLS, SOLID
    from streamfx.privacy.surrogates import SURROGATE_WEAKNESS
    from streamfx.redaction.redact import redact_film
    from streamfx.redaction.surrogates import find_drawing

    drawing: Drawing | None = None
    fill = SOLID if fill_name == "surrogate" else FILLS[fill_name]
    weakness = SURROGATE_WEAKNESS if fill_name == "surrogate" else fill.weakness
    if weakness is not None:
        say(f"warning: --fill {fill_name} is weaker than solid: {weakness}")
    if fill_name == "surrogate":
        drawing, lack = find_drawing()
        if lack is not None:
            say(f"warning: no face is drawn here, and all fills stay solid: {lack}")
    detector, threads = film_detector(also), len(os.sched_getaffinity(0))
    _make_folder(out)
    left_out: list[str] = []
    for video, target in targets.items():
        try:
            done = redact_film(video, target, fill, detector, threads, _progress(video.name), drawing)
        except (SourceError, RedactionError) as error:
            left_out.append(str(error))
            if as_json:
                click.echo(json.dumps({"file": str(video), "left_out": str(error)}))
        else:
            click.echo(json.dumps(_report(video, target, fill_name, done)) if as_json else _line(target, done))
    say_left_out(left_out)
    exit_if_left_out(left_out)


def _targets(videos: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Each video's copy. UsageError for a copy that would take a video's place, or another copy's."""
    targets: dict[Path, Path] = {}
    for video in videos:
        target = out / f"{video.stem}.mp4"
        if taken := next((other for other in videos if _same_file(target, other)), None):
            raise click.UsageError(f"--out {out}: the copy of {video} would overwrite {taken}; name another folder")
        if target in targets.values():
            raise click.UsageError(f"two videos are called {video.stem}: their copies would both be {target}")
        targets[video] = target
    return targets


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _make_folder(out: Path) -> None:
    from streamfx.errors import RedactionError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RedactionError(f"--out {out}: cannot make the folder: {error.strerror or error}") from error


def _progress(name: str) -> Progress:
    """Shows a bar for each pass over one video."""

    def shown(title: str, total: int | None, frames: Iterable[FilmFrame]) -> Iterator[FilmFrame]:
        return ProgressBar(" frames", total, title=f"{name}, {title}").over(frames)

    return shown


def _report(video: Path, target: Path, fill: str, done: Redacted) -> dict[str, object]:
    from streamfx.privacy.fills import CELL_PX, CHANGED_PX, EPSILON

    bound = {"cell_px": CELL_PX, "changed_px": CHANGED_PX, "epsilon_per_frame": EPSILON}
    return {
        "file": str(video), "out": str(target), "fill": fill, **({"bound": bound} if fill == "pixelate" else {}),
        **asdict(done),
    }  # fmt: skip


def _line(target: Path, done: Redacted) -> str:
    whole = f", {sum(done.whole.values())} frames filled whole ({_reasons(done.whole)})" if done.whole else ""
    drawn = f", {done.painted} drawn" if done.painted or done.left_filled else ""
    left = f", {sum(done.left_filled.values())} left filled ({_reasons(done.left_filled)})" if done.left_filled else ""
    return (
        f"{target}: {done.frames} frames ({done.seconds:.1f} s), {done.tracks} faces, {done.filled:.1%} filled{whole}{drawn}"
        f"{left}, {done.frames_per_s:.1f} frames/s"
    )


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
