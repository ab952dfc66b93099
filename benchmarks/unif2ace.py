"""How well a trained UniF2ace draws and reads people whom it never saw; raw JSON, with intervals over people.

    python benchmarks/unif2ace.py --model out/train/unif2ace/model --out out/bench/unif2ace [--only drawing] [--json]

- tokenizer: what of a face survives it, by judges that read expressions, action units and glasses before and after;
- drawing: faces by descriptions, beside the pictures described and their copies by the tokenizer: what was asked for, by our
  net of attributes and by face-api, an outside judge of expressions (chance 1/7); whether CenterFace finds them; the Fréchet
  distance by the model's own encoders, which its tokenizer learned from, and by DINOv2, from which nothing that draws learned;
  the nearest picture of training. `drawn.png` in `--out` shows 64 of them;
- reading: the questions about people for the test, by scoring options, beside a linear layer on what the encoders see, which is
  Face-MLLM's probe.

Pictures for `tokenizer` and `drawing` are those for validation, which neither the tokenizer nor the transformer learned from.
What is finished is in `--out`/unif2ace.json and not measured again. `wanted` are the figures that a model is to reach.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from streamfx.models.card import find_directory
from streamfx.models.unif2ace import FACE, SEMANTIC, UniF2aceModel
from streamfx.train.face_mllm.tower import places_of, see
from streamfx.train.face_qa.table import read_set
from streamfx.train.results import json_text, write_json
from streamfx.train.unif2ace.evaluate import Known, drawing, reading, survival
from streamfx.train.unif2ace.look import codes_of, encoders_of, tower_of
from streamfx.train.unif2ace.tokens_measure import Judges

PARTS = ("tokenizer", "drawing", "reading")
WANTED = {
    "tokenizer": {"expression_outside": 0.9, "expression": 0.9, "glasses_kept": 0.9, "r_units": 0.9},
    "drawing": {"found": 0.9, "expression_outside": 0.5, "glasses": 0.8, "beard": 0.8},
    "reading": {"expression": -0.05, "sex": -0.05},
}
"""The least of each figure; of `reading` the difference from the probe."""


def main() -> None:
    """Measure, write, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="unif2ace", help="model directory, or the name of a shipped model")
    parser.add_argument("--questions", type=Path, default=Path("out/face-qa"))
    parser.add_argument("--set", type=Path, action="append", help="the drawn sets that the questions are about")
    parser.add_argument("--cache", type=Path, default=Path("out/attribute-pictures"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--pictures", type=int, default=1_000, help="for the tokenizer, and drawings")
    parser.add_argument("--asked", type=int, default=300, help="pictures that questions are asked of")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = UniF2aceModel.load(find_directory(args.model))
    sets = args.set or [Path("out/synth/people"), Path("out/synth/people-held-out")]
    deciding = {"model": model.card.name, "version": model.card.info.version, "pictures": args.pictures, "asked": args.asked,
                "seed": args.seed}  # fmt: skip
    file = args.out / "unif2ace.json"
    told = kept(file, deciding)
    missing = [part for part in args.only or PARTS if part not in told]
    if missing:
        known = known_to(model, args.questions, sets, args.cache)
        for part, measured in parts(model, known, args.pictures, args.asked, args.seed, args.out).items():
            if part in missing:
                began = time.monotonic()
                print(f"{part} ...", file=sys.stderr, flush=True)
                told[part] = measured() | {"seconds": round(time.monotonic() - began)}
                told["wanted"] = wanted(told)
                write_json(file, told)
    print(json_text(told, indent=1) if args.json else table(told["wanted"]))


def kept(file: Path, deciding: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call measured, of the same model in the same way."""
    told: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if told and any(told.get(name) != value for name, value in deciding.items()):
        sys.exit(f"{file}: expected figures of the same model, measured in the same way; give --out another folder")
    return {**deciding, "wanted": [], **told}


def known_to(model: UniF2aceModel, questions: Path, sets: list[Path], cache: Path) -> Known:
    """The questions, and their pictures as the model sees them; made once in `cache`."""
    images, asked = read_set(questions)
    seen = see(tower_of(model), images, sets, cache)
    return Known(images, asked, places_of(images, sets, cache), seen, codes_of(model.tokenizer, images, sets, cache))


def parts(
    model: UniF2aceModel, known: Known, pictures: int, asked: int, seed: int, out: Path
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Each of PARTS, still to be measured."""
    judges, encoders = Judges.load(), [*encoders_of(model, FACE), *encoders_of(model, SEMANTIC)]
    return {
        "tokenizer": lambda: survival(model, known, judges, "validation", pictures, seed, encoders),
        "drawing": lambda: drawing(model, known, judges, "validation", pictures, seed, encoders, out / "drawn.png"),
        "reading": lambda: reading(model, known, "test", asked, seed, probed=True),
    }


def wanted(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of WANTED that are there, with their intervals, and whether each is reached."""
    rows = []
    for part, least in WANTED.items():
        for name, value in least.items():
            got = figure(told, part, name)
            if got and got[0] is not None and not math.isnan(got[0]):
                rows.append({"part": part, "figure": name, "wanted": value, "got": got, "reached": got[0] >= value})
    return rows


def figure(told: dict[str, Any], part: str, name: str) -> list[float] | None:
    """A figure of WANTED with its interval; None where it was not measured."""
    its = told.get(part, {})
    if part == "drawing":
        drawn = its.get("drawn", {})
        return drawn.get(name) if name == "found" else drawn.get("asked", {}).get(name, {}).get("share")
    if part == "reading":
        less = its.get("less_than_probe", {}).get(name)
        return None if less is None else [-less]
    return its.get(name)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | figure | wanted | got | |", "|---|---|---|---|---|"]
    for row in rows:
        value, *ends = row["got"]
        got = f"{value:.3f}" + (
            f" [{ends[0]:.3f}, {ends[1]:.3f}]"
            if ends and not any(end is None or math.isnan(end) for end in ends)
            else ""
        )
        lines.append(
            f"| {row['part']} | {row['figure']} | {row['wanted']} | {got} | {'' if row['reached'] else 'missed'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
