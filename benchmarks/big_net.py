"""The authors' net on one CPU thread at each precision, beside their recipe in float32; and what a precision costs.

Without --set: CPU seconds for a clip (16 frames at 224, ViT-B) of the plain recipe (`plain_mma_dfer.py`) and of the net
as it is served, in turn in one process. CPU seconds leave out what other processes take. Weights are random, from a
seed, unless --weights names a model directory; `logits_largest_difference` is from the plain recipe's.

With --set: the shipped models over a synthetic set at each precision, under the conditions of --seen-as: how often the
named class is that of float32, the largest difference of a logit, WAR and UAR, and CPU seconds for a window. Both parts
go into one file with --out.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_mma_dfer import plain_logits
from torch import Tensor

from streamfx.models.card import resolve_model
from streamfx.models.expression import ExpressionModel
from streamfx.nets.mma_dfer import FBANK_BINS, FBANK_ROWS, FRAMES, MmaDfer, MmaDferConfig
from streamfx.nets.precision import PRECISIONS, Precision, at_precision, instruction_sets
from streamfx.train.evaluate import CONDITIONS
from streamfx.train.labelled import synthetic_samples
from streamfx.train.metrics import confusion_matrix, uar, war

BATCH = 8
"""Windows that the shipped models take at once."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", type=Path, help="model directory of the authors' architecture")
    parser.add_argument("--set", type=Path, help="synthetic set; measures the price in place of the speed")
    parser.add_argument("--models", nargs="+", default=["expression-faces", "expression-small"])
    parser.add_argument(
        "--seen-as", nargs="+", choices=list(CONDITIONS), default=["as_is"], help="conditions of the set"
    )
    parser.add_argument("--cache", type=Path, default=Path("out/cache"))
    parser.add_argument("--out", type=Path, help="file into which the part is written, beside what it holds")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.set:
        part = {"shipped_models": {name: price(name, args.set, args.cache, args.seen_as) for name in args.models}}
    else:
        part = {"big_net": speed(args.weights, args.rounds)}
    part["machine"] = {"processor": processor(), "instruction_sets": instruction_sets(), "torch": torch.__version__}
    if args.out:
        kept = json.loads(args.out.read_text()) if args.out.exists() else {}
        args.out.write_text(json.dumps(kept | part, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(part) if args.json else json.dumps(part, indent=1))


def speed(weights: Path | None, rounds: int) -> dict[str, Any]:
    """CPU seconds of each way for one clip, all in turn in each round."""
    exact = big_net(weights)
    nets = {precision: at_precision(copy.deepcopy(exact), precision) for precision in PRECISIONS}
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"plain": lambda *clip: plain_logits(exact, *clip), **nets}
    clip, took, answers = one_clip(), {name: [] for name in ways}, {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            with torch.inference_mode():
                answers[name] = way(*clip)
            if number:  # the first round only makes all of them ready
                took[name].append(time.process_time() - started)
        print(f"round {number}/{rounds}: {json.dumps({n: s[-1:] for n, s in took.items()})}", file=sys.stderr)
    ratios = {name: [plain / own for plain, own in zip(took["plain"], took[name], strict=True)] for name in ways}
    return {
        "net": "ViT-B/16 at 224, 16 frames and their sound, one thread",
        "rounds": rounds,
        "load_average": os.getloadavg(),
        "cpu_s_per_clip": {name: round(statistics.median(all_s), 3) for name, all_s in took.items()},
        "least_cpu_s_per_clip": {name: round(min(all_s), 3) for name, all_s in took.items()},
        "times_plain": {name: round(statistics.median(all_), 2) for name, all_ in ratios.items()},
        "times_plain_by_round": {name: [round(one, 2) for one in all_] for name, all_ in ratios.items()},
        "logits_largest_difference": {
            name: float((one - answers["plain"]).abs().max()) for name, one in answers.items()
        },
        "same_class": {name: bool(one.argmax() == answers["plain"].argmax()) for name, one in answers.items()},
    }


def big_net(weights: Path | None) -> MmaDfer:
    """The authors' sizes, with random weights whose gates are open, unless there are others."""
    if weights is not None:
        return ExpressionModel.load(weights).net
    net = MmaDfer(MmaDferConfig()).eval().requires_grad_(False)
    net.initialise(1)
    for name, value in net.named_parameters():
        if ".all_gate." in name:
            value.fill_(0.5)
    return net


def one_clip() -> tuple[Tensor, Tensor]:
    """Frames and filter bank of noise; the time does not depend on them."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (1, FRAMES, 3, 224, 224), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(1, 1, FBANK_ROWS, FBANK_BINS, generator=generator) * 0.5


def price(name: str, folder: Path, cache: Path, seen_as: Sequence[str]) -> dict[str, Any]:
    """What each precision changes in the answers of a trained model over the set."""
    models = {one: ExpressionModel.load(resolve_model(name), precision=one) for one in PRECISIONS}
    info = models["fp32"].info
    assert info.image_size is not None
    samples = list(synthetic_samples(folder, cache, info.image_size))
    seen = [(CONDITIONS[condition][1](sample.window), sample.label) for condition in seen_as for sample in samples]
    truth = np.array([info.labels.index(label) for _, label in seen], np.int64)
    logits: dict[Precision, list[np.ndarray]] = {one: [] for one in PRECISIONS}
    took_s = dict.fromkeys(PRECISIONS, 0.0)
    for start in range(0, len(seen), BATCH):
        inputs = [ExpressionModel.inputs(window, info) for window, _ in seen[start : start + BATCH]]
        batch = {key: torch.from_numpy(np.stack([one[key] for one in inputs])) for key in inputs[0]}
        for precision, model in models.items():
            started = time.process_time()
            logits[precision].append(model.run(batch)["logits"].numpy())
            took_s[precision] += time.process_time() - started
    said = {precision: np.concatenate(parts) for precision, parts in logits.items()}
    return {
        "drawings": len(samples),
        "seen_as": seen_as,
        "windows": len(seen),
        **{one: compared(said[one], said["fp32"], truth, took_s[one] / len(seen)) for one in PRECISIONS},
    }


def compared(own: np.ndarray, exact: np.ndarray, truth: np.ndarray, took_s: float) -> dict[str, Any]:
    """Measures of one precision."""
    confusion = confusion_matrix(truth, own.argmax(axis=1), own.shape[1])
    return {
        "same_class": round(float((own.argmax(axis=1) == exact.argmax(axis=1)).mean()), 4),
        "logits_largest_difference": round(float(np.abs(own - exact).max()), 4),
        "logits_mean_difference": round(float(np.abs(own - exact).mean()), 5),
        "war": round(war(confusion), 4),
        "uar": round(uar(confusion), 4),
        "cpu_s_per_window": round(took_s, 5),
    }


def processor() -> str:
    """The CPU's name."""
    lines: Sequence[str] = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
