"""The output of `streamfx tune` and `streamfx plan`: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from streamfx.tuning.measurement import STAGES, WAITS, Measurement
from streamfx.tuning.plan import Plan
from streamfx.tuning.tune import Tuned

ADVICE: Mapping[str, str] = {
    "source": "the line waits for chunks: a longer queue (source.queue_chunks), or a faster source",
    "decode": "decoding: media.threads; then more workers, or smaller pictures at the camera",
    "faces": "finding faces: one thread a worker by design, so more workers; or detect less (faces.…; changes rows)",
    "windows": "crops and the filter bank: more workers",
    "inference": "the line waits for the model: serving.threads, batch_size, in_flight; then Triton, or a GPU",
    "redaction": "preview pictures: make fewer (redact.preview_every_s), or none",
    "write": "committing rows: larger rolls (sink.roll_chunks), or a faster disk",
}
"""Advice for each stage that may bind, in terms of the knobs that affect it."""


def tune_table(tuned: Tuned, output: str) -> str:
    """A table of costs before and after by stage, and the changed settings."""
    before, after = tuned.before, tuned.after
    rows = [("", "before", "after")]
    rows += [(path, f"{old:g}", f"{new:g}") for path, (old, new) in tuned.changed.items()]
    rows += [("seconds of media a second", f"{before.speed:.2f}", f"{after.speed:.2f}")]
    rows += [(f"{stage}, s a second of media", _cost(before, stage), _cost(after, stage)) for stage in (*STAGES, WAITS)]
    rows += [("CPU, s a second of media", f"{before.cpu_s / before.media_s:.3f}", f"{after.cpu_s / after.media_s:.3f}")]
    said = [
        _aligned(rows),
        "Each column is the fastest run of its setting.",
        "",
        f"Before, {before.binds} binds: {ADVICE[before.binds]}.",
    ]
    if tuned.changed:
        said.append(f"After, {after.binds} binds: {ADVICE[after.binds]}.")
        ratios = [after.speed / before.speed for before, after in tuned.found.pairs]
        said.append(
            f"{tuned.found.ratio:.2f} times as fast in the median of {len(ratios)} rounds side by side "
            f"({min(ratios):.2f} to "
            f"{max(ratios):.2f}); {len(tuned.found.trials)} runs, {tuned.found.ended}."
        )
        said.append(f"Written to {output}; config_id {tuned.config_id} as before.")
    else:
        said.append(f"No setting was faster by more than noise in {len(tuned.found.trials)} runs: {tuned.found.ended}.")
        said.append(f"Written unchanged to {output}.")
    return "\n".join(said)


def tune_json(tuned: Tuned, output: str) -> dict[str, Any]:
    """All measurements; `streamfx plan --costs` reads the part `costs`."""
    return {
        "config_id": tuned.config_id,
        "output": output,
        "changed": {path: {"before": old, "after": new} for path, (old, new) in tuned.changed.items()},
        "ratio": tuned.found.ratio,
        "ended": tuned.found.ended,
        "binds": {"before": tuned.before.binds, "after": tuned.after.binds},
        "pairs": [{"before": a.speed, "after": b.speed} for a, b in tuned.found.pairs],
        "costs": tuned.costs.model_dump(mode="json"),
        "runs": [
            {
                "round": trial.round,
                "setting": dict(trial.setting),
                "speed": trial.measured.speed,
                "binds": trial.measured.binds,
                "shares": trial.measured.shares,
                "measured": asdict(trial.measured),
            }
            for trial in tuned.found.trials
        ],
    }


def plan_table(plan: Plan) -> str:
    """Each figure with its formula and inputs."""
    lines = []
    width = max(len(figure.name) for figure in plan.figures)
    for figure in plan.figures:
        value = (
            "not known"
            if figure.value is None
            else f"{figure.value:.4g}"
            if figure.value < 1
            else f"{figure.value:,.10g}"
        )
        lines.append(f"{figure.name:<{width}}  {value:>10}  = {figure.formula}")
        if figure.inputs:
            inputs = ", ".join(f"{name} {number:.6g}" for name, number in figure.inputs.items())
            lines.append(f"{'':<{width}}  {'':>10}    {inputs}")
    return "\n".join([plan.stream, "", *lines, "", *plan.notes])


def plan_json(plan: Plan) -> str:
    """The plan as JSON."""
    return json.dumps(
        {"stream": plan.stream, "figures": [asdict(figure) for figure in plan.figures], "notes": plan.notes}, indent=2
    )


def _cost(run: Measurement, stage: str) -> str:
    return f"{run.shares.get(stage, 0.0) * run.elapsed_s / run.media_s:.3f} ({run.shares.get(stage, 0.0):.0%})"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
