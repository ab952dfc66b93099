"""The ablation of MMA-DFER as in the paper's table: one recipe without one part at a time, over several seeds."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamfx.errors import ConfigError
from streamfx.models.expression import ExpressionModel
from streamfx.train.datasets import open_examples
from streamfx.train.examples import Examples
from streamfx.train.expression import measure, train_expression
from streamfx.train.loop import device_of
from streamfx.train.metrics import recalls, uar, war
from streamfx.train.recipe import ExpressionRecipe, digest

FULL = "full"
ROWS: Mapping[str, Mapping[str, Any]] = {
    FULL: {},
    "without prompts": {"prompts_per_step": 0},
    "without bottleneck": {"bottleneck": False},
    "without temporal transformer": {"temporal": False},
    "video only": {"modalities": ["face"]},
    "sound only": {"modalities": ["sound"]},
}
"""Maps each row of the table to the switches of MmaDferConfig that make its net.

Without the temporal transformer a linear classifier sees the mean over frames. With one modality there is no
bottleneck either, since there is no second encoder to exchange with.
"""
FOLDER = "ablation"
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Outcome:
    """One finished run: its row, its seed, and the measures of its model on the held-out windows, all in 0..1.

    `recall` is by label, None for a label without windows; `parameters` is the number of trained parameters;
    `decided_by` is a digest of everything that the run depends on.
    """

    row: str
    seed: int
    war: float
    uar: float
    recall: Mapping[str, float | None]
    windows: int
    parameters: int
    decided_by: str


def run_ablation(recipe: ExpressionRecipe, seeds: Sequence[int], say: Callable[[str], None]) -> Path:
    """Train every row of ROWS with every seed, write `ablation.json` and `ablation.md`, and return their folder.

    The folder is `recipe.run.out`/ablation; it also has a folder for each run, and both files are rewritten after each
    run. A call resumes where an earlier one was killed: it keeps finished runs and continues an unfinished one. `say`
    gets a line for each run. Raises ConfigError where the recipe has no held-out windows, switches off a part itself,
    or differs from the one that made the folder's runs.
    """
    _check_full(recipe)
    _, held_out = open_examples(recipe.data)
    if held_out is None:
        raise ConfigError("data: an ablation measures on held-out windows; name some in `held_out`")
    folder = recipe.run.out / FOLDER
    runs = [(row, seed) for seed in seeds for row in ROWS]
    outcomes: list[Outcome] = []
    for number, (row, seed) in enumerate(runs, 1):
        one = _recipe_of(recipe, row, seed, folder)
        kept = _finished(one)
        say(f"{number}/{len(runs)} {row}, seed {seed}{': kept' if kept else ''}")
        outcomes.append(kept or _run(one, row, seed, held_out))
        _write(folder / "ablation.json", json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
        _write(folder / "ablation.md", table(outcomes))
    return folder


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table of means ± standard deviations over seeds, in percent, and which parts it shows to help."""
    by_row = {row: [one for one in outcomes if one.row == row] for row in ROWS}
    full = {one.seed: one.uar for one in by_row[FULL]}
    lines = [
        "| net | trained parameters | WAR, % | UAR, % | UAR lost, points |",
        "|---|---:|---:|---:|---:|",
    ]
    helps: dict[bool, list[str]] = {True: [], False: []}
    for row, found in by_row.items():
        if not found:
            continue
        lost = [full[one.seed] - one.uar for one in found if one.seed in full]
        cells = [_spread([one.war for one in found]), _spread([one.uar for one in found])]
        cells.append("" if row == FULL else _spread(lost))
        lines.append(f"| {row} | {found[0].parameters:,} | {' | '.join(cells)} |")
        if row != FULL:
            helps[all(value > 0 for value in lost)].append(row)
    seeds = sorted(full)
    lines += [
        "",
        f"Mean ± standard deviation over {len(seeds)} seeds ({', '.join(map(str, seeds))}), on {outcomes[0].windows} "
        "held-out windows. The last column is the full net's UAR minus the row's, seed by seed.",
    ]
    if helps[True]:
        lines.append(f"UAR fell with every seed: {', '.join(helps[True])}.")
    if helps[False]:
        lines.append(f"UAR did not fall with every seed, so no help is shown here: {', '.join(helps[False])}.")
    return "\n".join(lines) + "\n"


def _check_full(recipe: ExpressionRecipe) -> None:
    switches = {name for row in ROWS.values() for name in row}
    # The recipe may choose any sizes, but a part that it leaves out would be missing in every row.
    off = [name for name in sorted(switches & set(recipe.net)) if name != "prompts_per_step" or not recipe.net[name]]
    if off:
        raise ConfigError(f"net: {', '.join(off)}: an ablation starts from the full net; remove it")


def _recipe_of(recipe: ExpressionRecipe, row: str, seed: int, folder: Path) -> ExpressionRecipe:
    """The recipe of one run."""
    out = folder / f"{row.replace(' ', '-')}-seed-{seed}"
    changed: dict[str, Any] = {
        "net": {**recipe.net, **ROWS[row]},
        "run": recipe.run.model_copy(update={"seed": seed, "out": out}),
        "name": out.name,
    }
    if row == "sound only":
        # A net that hears only the sound learns nothing from windows without sound.
        changed["augment"] = recipe.augment.model_copy(update={"sound_dropout": 0.0})
    return recipe.model_copy(update=changed)


def _decided_by(recipe: ExpressionRecipe) -> str:
    encoders = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (recipe.face, recipe.audio)]
    tree = recipe.model_dump(mode="json", exclude={"origin", "run", "name", "face", "audio"})
    return digest([tree, encoders, recipe.run.seed, recipe.run.precision])


def _finished(recipe: ExpressionRecipe) -> Outcome | None:
    """The result of this run from an earlier call, None if it did not finish; ConfigError if by another recipe."""
    path = recipe.run.out / RESULT_FILE
    if not path.is_file():
        return None
    try:
        outcome = Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: expected the result of a run, got something else; remove it") from error
    if outcome.decided_by != _decided_by(recipe):
        raise ConfigError(
            f"{path}: made by another recipe or other encoders; set run.out to another folder, or remove it"
        )
    return outcome


def _run(recipe: ExpressionRecipe, row: str, seed: int, held_out: Examples) -> Outcome:
    # The saved model is measured, not the one in memory.
    net = ExpressionModel.load(train_expression(recipe), str(device_of(recipe.run))).net
    _, confusion = measure(net, held_out, recipe)
    found = recalls(confusion)
    outcome = Outcome(
        row=row,
        seed=seed,
        war=war(confusion),
        uar=uar(confusion),
        recall={label: float(v) if v == v else None for label, v in zip(held_out.labels, found, strict=True)},
        windows=int(confusion.sum()),
        parameters=sum(value.numel() for value in net.trainable_parameters().values()),
        decided_by=_decided_by(recipe),
    )
    _write(recipe.run.out / RESULT_FILE, json.dumps(asdict(outcome), indent=1) + "\n")
    return outcome


def _spread(shares: Sequence[float]) -> str:
    """Mean and sample standard deviation, in percent."""
    mean = 100 * statistics.fmean(shares)
    return f"{mean:.1f}" + (f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else "")


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
