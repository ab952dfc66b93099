"""What `make demo` runs: a clip, or a video of yours, through the quickstart; then a look at what came out.

python -m streamfx.demo [VIDEO]
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamfx.errors import ConfigError, MissingComponent
from streamfx.shipped import PACKAGE, shipped
from streamfx.terminal import Stop, printable, say

if TYPE_CHECKING:
    import pandas as pd

    from streamfx.config.tree import Config
    from streamfx.demo.picture import ScoredWindow, Truth

OUT = Path("out/demo")
CLIP = PACKAGE / "assets" / "story.mp4"
"""A synthetic person, made by `streamfx.synth.story`; the truth about it lies beside it."""
SYNTHETIC = "The person in this dataset is synthetic: pictures and voice were made by streamfx synth."
CLEAR_SHARE = 0.75
"""A window shows one expression if it does for this part of its time; else it lies in a change."""
CLEAR_FRAMES = 12
"""Faces, of 16, that a window must have to be compared with the truth."""


def main(video: str | None) -> int:
    """Run the quickstart on `video`, or on the clip that comes with streamfx, and show the rows; the exit code."""
    from streamfx.cli.main import ProgressLine
    from streamfx.config.yaml import yaml_text
    from streamfx.pipeline import load_config
    from streamfx.runtime.logs import configure_logs
    from streamfx.runtime.supervisor import run_pipeline
    from streamfx.runtime.worker import RunRange

    path = Path(video) if video else CLIP
    if os.path.isdir(path):
        raise ConfigError(f"{path}: expected a video file, this is a folder; `streamfx run` takes folders")
    if not os.path.exists(path):
        raise ConfigError(f"{path}: there is no such file; expected a video file")
    folder = OUT / path.name if video else OUT
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror or error}; run it where it can be") from error
    truth = [] if video else read_truth(CLIP.with_suffix(".truth.json"))
    values = {
        "source.files.paths": [str(path)],
        "sink.path": str(folder / "dataset"),
        "redact.preview_dir": str(folder / "previews"),
    }
    # A single dollar sign in a configuration stands before a variable.
    overrides = [f"{key}={yaml_text(value).replace('$', '$$')}" for key, value in values.items()]
    if not video:
        overrides += ["source.files.start='2026-01-01T12:00:00Z'"]
    config = load_config(shipped("config") / "quickstart.yaml", overrides)
    configure_logs(config.runtime.log_level, config.runtime.log_format)
    stop = Stop("the chunk at hand is finished; the same command goes on from there")
    progress = ProgressLine(quiet=False)
    try:
        statuses = run_pipeline(config, RunRange(), None, stop.asked, progress.show)
    finally:
        progress.close()
    chunks, closed = sum(status.chunks for status in statuses), sum(status.windows for status in statuses)
    if stop.asked.is_set():
        say(f"interrupted; {chunks} chunks, {closed} windows; the same command goes on from there")
        return stop.exit_code
    done = (
        f"{chunks} chunks, {closed} windows" if chunks else f"already in the dataset; to run it again, delete {folder}"
    )
    tables = " and ".join(f"{config.sink.path}/{table}" for table in ("windows", "chunks"))
    print(printable(f"{path}: {done}\n\nParquet:         {tables}"))
    masked = sorted((folder / "previews").glob("*.png"))
    print(printable(f"Masked picture:  {masked[len(masked) // 2] if masked else 'none (no picture was due)'}"))
    show(config, truth, folder / "scores.png")
    _report(config, folder / "report.html", "" if video else SYNTHETIC)
    return 0


def _report(config: Config, out: Path, note: str) -> None:
    """Write the page of the dataset, and name it. Without the plotting library, which is fetched once, say how to get it."""
    from streamfx.report.page import write_report
    from streamfx.sink.place import open_place

    try:
        write_report(open_place(config.sink.path), config.sink.location, out, note)
    except MissingComponent as error:
        print(printable(f"\nNo report was made: {error}"))
    else:
        print(printable(f"\nReport:          {out} (open it in a browser)"))


def show(config: Config, truth: Truth, picture: Path) -> None:
    """Draw `picture` of the video's rows, print a small table of them, and how often they agree with the truth."""
    from streamfx.demo.picture import draw_scores

    windows, chunks = (_rows(config, table) for table in ("windows", "chunks"))
    if windows.empty:
        print("\nNo window had a face in at least half of it; see the `chunks` table for what became of each chunk.")
        return
    tracks = windows["track_id"].value_counts()
    one = windows[windows["track_id"] == tracks.index[0]].sort_values("window_start")
    scored = scored_windows(one, chunks["chunk_start"].min(), chunks["chunk_end"].max())
    version = str(one["expression_model_version"].iloc[-1])
    about = f"model {one['model'].iloc[-1]}, version {version}"
    others = f"; the longest seen of {len(tracks)} face tracks" if len(tracks) > 1 else ""
    agreed, judged = agreement(scored, truth)
    share = f"{agreed} of {judged} windows name the true expression" if judged else ""
    draw_scores(scored, truth, "Expression scores over time", "; ".join(filter(None, (about + others, share))), picture)
    print(printable(f"Scores, drawn:   {picture}\n\n{about}{others}"))
    print(_table(one, scored, truth).to_string(index=False))
    if judged:
        print(
            f"\n{share} ({agreed / judged:.0%}). Counted are windows with a face in at least {CLEAR_FRAMES} of "
            "16 pictures\n"
            f"that show one expression for at least {CLEAR_SHARE:.0%} of their time; {len(scored) - judged} "
            "others are not."
        )
    if "untrained" in version:
        print("\nThis model is untrained: its scores mean nothing.")


def scored_windows(rows: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> list[ScoredWindow]:
    """Rows of the `windows` table, cut to the video from `start` to `end`, with times that count from its start."""
    from streamfx.demo.picture import ScoredWindow

    labels = [str(name) for name in rows.columns if str(name).startswith("p_") and rows[name].notna().any()]
    return [
        ScoredWindow(
            start_s=(max(row["window_start"], start) - start).total_seconds(),
            end_s=(min(row["window_end"], end) - start).total_seconds(),
            frames=int(row["frames"]),
            sound=bool(row["audio_present"]),
            scores={label[2:]: float(row[label]) for label in labels},
        )
        for row in rows.to_dict("records")
    ]


def read_truth(path: Path) -> list[tuple[float, str, float]]:
    """What `streamfx.synth.story` wrote about a clip: [time_s, expression, intensity] at even steps."""
    return [(float(time_s), str(label), float(much)) for time_s, label, much in json.loads(path.read_text())]


def true_expression(window: ScoredWindow, truth: Truth) -> str | None:
    """What is shown for at least CLEAR_SHARE of the window; None where nothing is.

    Below half of its intensity an expression counts as neutral.
    """
    shown = [
        label if much >= 0.5 else "neutral" for time_s, label, much in truth if window.start_s <= time_s < window.end_s
    ]
    if not shown:
        return None
    label, times = Counter(shown).most_common(1)[0]
    return label if times >= CLEAR_SHARE * len(shown) else None


def agreement(windows: Sequence[ScoredWindow], truth: Truth) -> tuple[int, int]:
    """How many windows have the true expression as their likeliest, and how many were compared.

    Compared are those with at least CLEAR_FRAMES faces and a true expression.
    """
    compared = [(w.top, true_expression(w, truth)) for w in windows if w.frames >= CLEAR_FRAMES]
    judged = [(said, true) for said, true in compared if true is not None]
    return sum(said == true for said, true in judged), len(judged)


def _rows(config: Config, table: str) -> pd.DataFrame:
    """The committed rows of the configured video in one table, each with its `model` from the file's footer; empty
    where there are none."""
    import pandas as pd

    from streamfx.privacy.key import load_key
    from streamfx.sink.current_files import shown_files
    from streamfx.sink.parquet import as_now, decode
    from streamfx.sink.place import open_place
    from streamfx.source.files import FilesSource

    assert config.source.files is not None
    (partition,) = FilesSource(config.source.files, 0, 1, load_key(config)).partitions()
    place = open_place(config.sink.path)
    # `make demo` may have left a dataset there before a new version of streamfx came.
    stored = [as_now(decode(place.read(name), name)) for name in shown_files(place, str(config.sink.path), table)]
    if not stored:
        return pd.DataFrame()
    rows = pd.concat(
        [one.rows.assign(model=one.footer.get("streamfx.expression.model")) for one in stored], ignore_index=True
    )
    of_video: pd.DataFrame = rows[rows["topic"] == partition.topic]
    return of_video


def _table(rows: pd.DataFrame, scored: Sequence[ScoredWindow], truth: Truth) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(
        {
            "seconds": [f"{window.start_s:.1f}-{window.end_s:.1f}" for window in scored],
            "frames": rows["frames"].to_numpy(),
            "face_px": rows["face_height_px"].round().astype(int).to_numpy(),
            "sound": rows["audio_present"].to_numpy(),
            "expression": rows["expression"].to_numpy(),
            "confidence": rows["expression_confidence"].round(2).to_numpy(),
        }
    )
    if truth:
        table["truth"] = [true_expression(window, truth) or "(changes)" for window in scored]
    return table.head(30)
