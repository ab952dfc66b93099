#!/usr/bin/env python3
"""How much faster ANet's interweaved pass is than the same net patch by patch, on one thread, side by side in one run.

    python benchmarks/interweave.py --json

For each number of patches the two passes alternate, and the best CPU time of each counts, so that other work on the
machine hardly enters. Patch by patch is given its patches as one batch. The weights are random: they do not change the
work. Fails where the two answers differ by more than 1e-5.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable

import torch

from streamfx.nets.lnet_anet import ANet, ANetSizes, initialise

PATCHES = (16, 36, 64, 100)
WANTED, WANTED_AT, LARGEST = 6.0, 64, 1e-5


def best_s(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def compare(net: ANet, side: int, rounds: int) -> dict[str, float]:
    """Both passes over one random picture of this side."""
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(side))
    fast, slow = net(picture), net.patch_by_patch(picture)
    apart = float((fast - slow).abs().max())
    assert apart <= LARGEST, f"the passes differ by {apart}"
    times: dict[str, list[float]] = {"interweaved": [], "patch_by_patch": []}
    for _ in range(rounds):
        times["interweaved"].append(best_s(lambda: net(picture)))
        times["patch_by_patch"].append(best_s(lambda: net.patch_by_patch(picture)))
    interweaved, by_patch = (min(times[name]) * 1e3 for name in ("interweaved", "patch_by_patch"))
    return {
        "side_px": side,
        "patches": fast.shape[1],
        "interweaved_ms": round(interweaved, 3),
        "patch_by_patch_ms": round(by_patch, 3),
        "times_faster": round(by_patch / interweaved, 2),
        "largest_difference": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON in place of a table")
    parser.add_argument("--rounds", type=int, default=15, help="times that each pass is run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = ANetSizes()
    net = ANet(sizes).eval()
    initialise(net, 0)
    with torch.inference_mode():
        rows = [compare(net, sizes.patch + sizes.step * (math.isqrt(count) - 1), options.rounds) for count in PATCHES]
    reached = next((row["patches"] for row in rows if row["times_faster"] >= WANTED), None)
    at = next(row["times_faster"] for row in rows if row["patches"] == WANTED_AT)
    result = {"threads": 1, "torch": torch.__version__, "rows": rows, "six_times_from_patches": reached}
    result["enough"] = at >= WANTED
    if options.json:
        print(json.dumps(result))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(f"{WANTED:g} times as fast from {reached} patches on; {at} times at {WANTED_AT}")


if __name__ == "__main__":
    main()
