"""The ablation of MMA-DFER as in the paper's table: one recipe without one part at a time, over several seeds."""

from __future__ import annotations

import hashlib
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
from streamfx.train.results import RESULT_FILE, finished, spread, write_json
from streamfx.whole_files import write_whole

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
        kept = finished(one.run.out, Outcome, _decided_by(one))
        say(f"{number}/{len(runs)} {row}, seed {seed}{': kept' if kept else ''}")
        outcomes.append(kept or _run(one, row, seed, held_out))
        write_json(folder / "ablation.json", [asdict(outcome) for outcome in outcomes])
        write_whole(folder / "ablation.md", table(outcomes))
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
        cells = [spread([one.war for one in found]), spread([one.uar for one in found])]
        cells.append("" if row == FULL else spread(lost))
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
    write_json(recipe.run.out / RESULT_FILE, asdict(outcome))
    return outcome
