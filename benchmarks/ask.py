"""How many questions a second a Face-MLLM answers: one for each picture, and several that share a picture.

python benchmarks/ask.py --model out/train/face-mllm/model [--threads 2] [--questions 8] [--seconds 20] [--json]

What is said without looking is worked out before the clock starts, as it is once for a stream. `tower_s` is the part of a
request in which the picture is looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import numpy as np
import torch

from streamfx.models.ask import ASKED, FACE, TOKENS, VOCABULARY, AskModel, words_file
from streamfx.models.card import resolve_model
from streamfx.models.prompt import YES_NO, Asked, Prompt
from streamfx.serving.words import FileWords

SEEN = ("glasses", "a hat", "a smile", "an open mouth", "closed eyes", "raised eyebrows", "a frown", "teeth")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=AskModel.spec.default_weights)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--questions", type=int, default=len(SEEN), choices=range(1, len(SEEN) + 1))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    directory = resolve_model(args.model)
    model = AskModel.load(directory)
    facts = model.info.facts
    prompt = Prompt(FileWords(words_file(model.info, directory), facts[VOCABULARY]), facts[TOKENS])
    asked: list[Asked] = [(f"Can you see {what} in this picture?", YES_NO) for what in SEEN[: args.questions]]
    told: dict[str, Any] = {
        "model": model.info.name,
        "version": model.info.version,
        "trained": model.info.trained,
        "threads": args.threads,
        "load_1min_before": os.getloadavg()[0],
        "tower_s": round(_tower_s(model), 4),
        "singly": _rate(model, prompt, asked[:1], args.seconds),
        "shared": _rate(model, prompt, asked, args.seconds),
    }
    if args.json:
        print(json.dumps(told, indent=2))
        return
    for name in ("singly", "shared"):
        one = told[name]
        print(
            f"{name}: {one['questions_per_s']:.1f} questions/s, {one['request_s']:.3f} s for {one['questions']} on a picture"
        )


def _faces(model: AskModel, count: int) -> torch.Tensor:
    side = model.info.image_size or 1
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return torch.from_numpy(pixels)


@torch.inference_mode()
def _tower_s(model: AskModel) -> float:
    """Median seconds for one picture."""
    face, took = _faces(model, 1).float() / 255, []
    for _ in range(6):
        started = time.perf_counter()
        model.net.tower(face)
        took.append(time.perf_counter() - started)
    return float(np.median(took[1:]))


def _rate(model: AskModel, prompt: Prompt, asked: list[Asked], seconds: float) -> dict[str, float]:
    """Requests one after another, each with one picture, for so many seconds."""
    request = torch.from_numpy(prompt.request(asked))[None]
    faces = _faces(model, 8)
    model.run({FACE: faces[:1], ASKED: request})
    took: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or len(took) < 3:
        number, before = len(took) % len(faces), time.perf_counter()
        model.run({FACE: faces[number : number + 1], ASKED: request})
        took.append(time.perf_counter() - before)
    return {
        "questions": len(asked),
        "tokens": request.shape[2],
        "requests": len(took),
        "request_s": round(float(np.median(took)), 4),
        "questions_per_s": round(len(asked) * len(took) / sum(took), 2),
    }


if __name__ == "__main__":
    main()
