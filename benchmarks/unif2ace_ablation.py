"""What the experts and the losses of a UniF2ace do: one recipe with one of them changed at a time, over several seeds.

    python benchmarks/unif2ace_ablation.py config/train/unif2ace.yaml --out out/train/unif2ace-ablation [--seeds 1 2 3] [--json]

Each run trains for 3,000 steps (`--set both.epochs=... --set both.pictures=...` for others), and is measured as every training
is (`measures.json`): losses on people for validation, drawings, answers, and what each expert got. A call resumes: finished
runs are kept, an unfinished one continues. A row whose figure differs from the full recipe's in the same direction with every
seed is told to differ; of the others nothing can be told. `--out`/ablation.json has the raw figures, ablation.md the tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamfx.models.card import find_directory
from streamfx.models.unif2ace import UniF2aceModel
from streamfx.train.face_qa.table import QUESTIONS_FILE
from streamfx.train.recipe import digest, load_recipe
from streamfx.train.results import RESULT_FILE, finished, json_text, write_json
from streamfx.train.unif2ace.recipe import UniF2aceRecipe
from streamfx.train.unif2ace.run import MEASURES_FILE, train_unif2ace
from streamfx.whole_files import write_whole

FULL = "both experts, mask and score loss, alpha 0.01"
ROWS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    FULL: {},
    "no experts": {"net": {"routed": 0, "sequence": False}},
    "token-level experts": {"net": {"sequence": False}},
    "sequence-level experts": {"net": {"routed": 0}},
    "alpha 0.1": {"both": {"alpha_tokens": 25.6}},
    "alpha 0.001": {"both": {"alpha_tokens": 0.256}},
    "mask loss only": {"both": {"alpha_tokens": 0.0}},
    "score loss only": {"both": {"mask_weight": 0.0}},
}
"""What each row changes of the recipe. Alphas are those of the paper, which has 256 tokens; without experts the blocks' MLPs
are as wide as the experts that a token meets, so the work of a token is about the same, but not the number of parameters."""
SIZE = ("both.epochs=6", "both.pictures=16000")
"""Steps of a run, times the batch size; what `--set` says comes after."""
FIGURES = {
    "held_out_mask": False, "held_out_answer": False, "frechet": False, "found": True, "expression": True, "glasses": True,
    "read_expression": True, "read_sex": True,
}  # fmt: skip
"""Figures of a run, and whether more is better."""


@dataclass(frozen=True)
class Outcome:
    """One finished run: figures by FIGURES, null where one was not measured, and `loads`, the share of assignments that each
    expert gets, by router. `decided_by` is a digest of everything that the run depends on."""

    row: str
    seed: int
    parameters: int
    figures: Mapping[str, float | None]
    loads: Mapping[str, Sequence[float]]
    decided_by: str


def main() -> None:
    """Train, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="another value of the recipe")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    recipe = load_recipe(UniF2aceRecipe, args.recipe, [*SIZE, *args.set])
    outcomes: list[Outcome] = []
    runs = [(row, seed) for seed in args.seeds for row in args.rows]
    for number, (row, seed) in enumerate(runs, 1):
        one = recipe_of(recipe, row, seed, args.out)
        kept = finished(one.run.out, Outcome, decided_by(one))
        print(f"{number}/{len(runs)} {row}, seed {seed}{': kept' if kept else ''}", file=sys.stderr, flush=True)
        outcomes.append(kept or run(one, row, seed))
        print(loads_of(outcomes[-1]), file=sys.stderr, flush=True)
        write_json(args.out / "ablation.json", [asdict(outcome) for outcome in outcomes])
        write_whole(args.out / "ablation.md", tables(outcomes))
    print(json_text([asdict(outcome) for outcome in outcomes], indent=1) if args.json else tables(outcomes))


def recipe_of(recipe: UniF2aceRecipe, row: str, seed: int, out: Path) -> UniF2aceRecipe:
    """The recipe of one run, in a folder of its own."""
    folder = out / f"{'full' if row == FULL else row.replace(' ', '-')}-seed-{seed}"
    changed = ROWS[row]
    return recipe.model_copy(
        update={
            "net": {**recipe.net, **changed.get("net", {})},
            "both": recipe.both.model_copy(update=dict(changed.get("both", {}))),
            "run": recipe.run.model_copy(update={"seed": seed, "out": folder}),
            "name": folder.name,
        }
    )


def decided_by(recipe: UniF2aceRecipe) -> str:
    """A digest of the recipe, the questions and the tokenizer."""
    files = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (recipe.tokenizer, recipe.data.questions / QUESTIONS_FILE)
    ]
    tree = json.loads(recipe.model_dump_json(exclude={"origin", "run", "name", "data", "tokenizer"}))
    return digest([tree, files, recipe.run.seed, recipe.run.precision])


def run(recipe: UniF2aceRecipe, row: str, seed: int) -> Outcome:
    """Train, and read what was measured."""
    model = UniF2aceModel.load(find_directory(train_unif2ace(recipe)))
    told = json.loads((recipe.run.out / MEASURES_FILE).read_text())
    parameters = sum(value.numel() for value in model.net.parameters())
    outcome = Outcome(row, seed, parameters, figures_of(told), told["loads"], decided_by(recipe))
    write_json(recipe.run.out / RESULT_FILE, asdict(outcome))
    return outcome


def figures_of(told: Mapping[str, Any]) -> dict[str, float | None]:
    """FIGURES out of `measures.json`: the Fréchet distance of drawings less that of real pictures, by the first encoder."""
    drawn, options = told["drawing"]["drawn"], told["reading"]["options"]
    far = next(iter(told["drawing"]["frechet"].values()), {})
    apart = far["drawn"]["mean"] - far["real"]["mean"] if far else None

    def shown(name: str) -> float | None:
        return drawn["asked"].get(name, {"share": [None]})["share"][0]  # type: ignore[no-any-return]

    def read(key: str) -> float | None:
        return options.get(key, {"said": [None]})["said"][0]  # type: ignore[no-any-return]

    return {
        "held_out_mask": told["held_out_mask"], "held_out_answer": told["held_out_answer"], "frechet": apart,
        "found": drawn["found"][0], "expression": shown("expression_outside"), "glasses": shown("glasses"),
        "read_expression": read("expression/expression/words"), "read_sex": read("sex/sex/words"),
    }  # fmt: skip


def loads_of(outcome: Outcome) -> str:
    """What each expert gets, a line a router, in even shares: 1 is as much as if all got the same."""
    lines = [
        f"  {name}: " + " ".join(f"{share * len(one):.2f}" for share in one) for name, one in outcome.loads.items()
    ]
    return "\n".join(lines or ["  no experts"])


def tables(outcomes: Sequence[Outcome]) -> str:
    """Means ± standard deviations over seeds, which differences can be told, and the extremes of what experts get."""
    by_row = {row: [one for one in outcomes if one.row == row] for row in ROWS}
    by_row = {row: found for row, found in by_row.items() if found}
    lines = [f"| | parameters | {' | '.join(FIGURES)} |", f"|---|---:|{'---:|' * len(FIGURES)}"]
    for row, found in by_row.items():
        cells = [spread([one.figures[name] for one in found]) for name in FIGURES]
        lines.append(f"| {row} | {found[0].parameters:,} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Mean ± standard deviation over the seeds {', '.join(map(str, sorted({o.seed for o in outcomes})))}.",
        "",
    ]
    full = {one.seed: one for one in by_row.get(FULL, [])}
    for row, found in by_row.items():
        if row != FULL and full:
            lines.append(f"- {row}: {verdict([(full[one.seed], one) for one in found if one.seed in full])}")
    lines += ["", "| | least and most that an expert gets, in even shares |", "|---|---|"]
    for row, found in by_row.items():
        even = [share * len(one) for outcome in found for one in outcome.loads.values() for share in one]
        lines.append(f"| {row} | {f'{min(even):.2f} to {max(even):.2f}' if even else 'no experts'} |")
    return "\n".join(lines) + "\n"


def verdict(pairs: Sequence[tuple[Outcome, Outcome]]) -> str:
    """Which figures are better or worse than the full recipe's with every seed, of at least three."""
    better, worse = [], []
    for name, more in FIGURES.items():
        gains = [(other.figures[name], full.figures[name]) for full, other in pairs]
        signs = {(one > its) - (one < its) for one, its in gains if one is not None and its is not None}
        if len(pairs) >= 3 and len(signs) == 1 and 0 not in signs and all(None not in pair for pair in gains):
            (better if (signs == {1}) is more else worse).append(name)
    said = [
        f"{word} with every seed: {', '.join(names)}" for word, names in (("better", better), ("worse", worse)) if names
    ]
    rest = [name for name in FIGURES if name not in (*better, *worse)]
    return "; ".join([*said, *([f"nothing can be told of {', '.join(rest)}"] if rest else [])])


def spread(values: Sequence[float | None]) -> str:
    """Mean ± sample standard deviation of those that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{statistics.fmean(known):.3f}" + (f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else "")


if __name__ == "__main__":
    main()
