"""The sweep of the identity adversary's strength: what it does to the leak of identity, and to strangers' action units.

The shortcut must be there to be unlearned, so training sees people in whom identity and action units go together: of
each training person only the two clips whose units are most alike (`habitual`). The held-out people keep all of theirs.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from streamfx.errors import ConfigError
from streamfx.models.action_units import ActionUnitsModel
from streamfx.train.action_units import REPORT, train_action_units
from streamfx.train.action_units import open_frames as open_all
from streamfx.train.au_measure import answers
from streamfx.train.au_recipe import ActionUnitsRecipe
from streamfx.train.au_sets import AuExamples
from streamfx.train.fmae_encoder import encoder_digest
from streamfx.train.leak import Leak, identity_leak
from streamfx.train.loop import device_of
from streamfx.train.recipe import digest
from streamfx.train.results import RESULT_FILE, finished, spread, write_json
from streamfx.whole_files import write_whole

SHARES = (0.0, 0.005, 0.02, 0.05, 0.1)
"""Lambda divided by the number of training people; the paper's values come to 0.007 to 0.049."""
FOLDER = "identity-sweep"
CLIPS_KEPT = 2
HELD = 0.01
"""How much F1 a seed may lose for strangers' units to be said to hold."""


@dataclass(frozen=True)
class Outcome:
    """One finished run. `f1` at a half, `f1_best_single` and `icc` are means over units on the held-out people; `linear`
    and `two_layers` are the accuracies of fresh identity probes on the training people's clips, of `people` to tell
    apart; `decided_by` is a digest of everything that the run depends on."""

    share: float
    seed: int
    f1: float
    f1_best_single: float
    icc: float | None
    linear: float
    two_layers: float
    people: int
    decided_by: str


def habitual(examples: AuExamples) -> npt.NDArray[np.int64]:
    """Numbers of the frames to train on: of each person with more clips the CLIPS_KEPT whose mean intensities are
    closest to each other, so that who it is tells much about what the face does. Distances count as shares of how
    strong both clips are, else mostly neutral faces would be chosen."""
    assert examples.intensity is not None
    kept = []
    for person in np.unique(examples.people):
        own = np.flatnonzero(examples.people == person)
        clips = np.unique(examples.clips[own])
        means = np.stack([examples.intensity[own[examples.clips[own] == clip]].mean(axis=0) for clip in clips])
        strong = np.linalg.norm(means, axis=1)
        apart = np.linalg.norm(means[:, None] - means[None], axis=-1) / np.maximum(strong[:, None] + strong, 1e-6)
        apart[np.diag_indices(len(clips))] = np.inf
        first = int(np.unravel_index(apart.argmin(), apart.shape)[0])
        apart[first, first] = -1.0
        nearest = clips[np.argsort(apart[first], kind="stable")[:CLIPS_KEPT]]
        kept.append(own[np.isin(examples.clips[own], nearest)])
    return np.sort(np.concatenate(kept))


def told_by_identity(examples: AuExamples) -> float:
    """How much of the spread of clips' intensities lies between people, over all units: epsilon squared, 1 - MS_within /
    MS_total (Kelley 1935), which is about 0 by chance however few clips a person has. NaN where nobody has two clips."""
    assert examples.intensity is not None
    clips, at = np.unique(examples.clips, return_inverse=True)
    means = np.stack([examples.intensity[at == clip].mean(axis=0) for clip in range(len(clips))]).astype(np.float64)
    people = np.array([examples.people[np.argmax(at == clip)] for clip in range(len(clips))])
    names = np.unique(people)
    if len(names) == len(clips):
        return float("nan")
    within = sum(float(((own - own.mean(axis=0)) ** 2).sum()) for own in (means[people == name] for name in names))
    total = float(((means - means.mean(axis=0)) ** 2).sum())
    return 1 - (within / (len(clips) - len(names))) / max(total / (len(clips) - 1), 1e-12)


def run_sweep(recipe: ActionUnitsRecipe, seeds: Sequence[int], say: Callable[[str], None]) -> Path:
    """Train with every strength and seed; write `sweep.json`, `sweep.md` and `sweep.png`, and return their folder.

    The folder is `recipe.run.out`/identity-sweep; all three are rewritten after each run. A call resumes where an
    earlier one was killed. `say` gets a line for each run. ConfigError for data without coded intensities.
    """
    if recipe.data.synthetic is None:
        raise ConfigError("data: the sweep needs drawings, of which it chooses clips; give data.synthetic")
    frames = open_all(recipe.data)
    if not frames.held_out.present.any():
        raise ConfigError("data.synthetic.held_out: expected frames in which a unit acts, found none; add another set")
    chosen = frames.train.only(habitual(frames.train))
    tied = {
        "all clips": told_by_identity(frames.train),
        "chosen": told_by_identity(chosen),
        "held out": told_by_identity(frames.held_out),
    }
    say(
        ", ".join(
            f"{name}: {100 * share:.0f} % of the units' spread lies between people" for name, share in tied.items()
        )
    )
    folder = recipe.run.out / FOLDER
    outcomes: list[Outcome] = []
    runs = [(share, seed) for seed in seeds for share in SHARES]
    for number, (share, seed) in enumerate(runs, 1):
        one = _recipe_of(recipe, share, seed, len(frames.people), folder)
        kept = finished(one.run.out, Outcome, _decided_by(one))
        say(f"{number}/{len(runs)} lambda / people = {share:g}, seed {seed}{': kept' if kept else ''}")
        if kept is None:
            directory = train_action_units(one, replace(frames, train=chosen))
            net = ActionUnitsModel.load(directory, str(device_of(one.run))).net
            seen = answers(net, frames.train, device_of(one.run))["features"]
            # Of all clips, also those that training left out: the last clip of each person is probed.
            leak = identity_leak(seen, frames.train.people, frames.train.clips)
            if leak is None:
                raise ConfigError("data.synthetic.train: expected people with several clips each, found none")
            kept = _outcome(one, share, seed, leak)
        outcomes.append(kept)
        write_json(folder / "sweep.json", {"tied": tied, "runs": [asdict(one) for one in outcomes]})
        write_whole(folder / "sweep.md", table(outcomes, tied))
        draw(outcomes).save(folder / "sweep.png")
    return folder


def table(outcomes: Sequence[Outcome], tied: dict[str, float]) -> str:
    """A Markdown table of means ± standard deviations over seeds, in percent, and what it shows."""
    by_share = {share: [one for one in outcomes if one.share == share] for share in SHARES}
    lines = [
        "| lambda / people | F1 at 0.5 | F1 at the best single threshold | ICC(3,1) | linear probe | two-layer probe |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for share, found in by_share.items():
        if found:
            columns = [[getattr(one, name) for one in found] for name in ("f1", "f1_best_single", "icc", "linear")]
            columns.append([one.two_layers for one in found])
            lines.append(f"| {share:g} | {' | '.join(map(spread, columns))} |")
    last = outcomes[-1]
    seeds = len({one.seed for one in outcomes})
    over = f"Mean ± standard deviation over {seeds} seeds" if seeds > 1 else "Of one seed"
    lines += [
        "",
        f"{over}, %. F1 and ICC on held-out people; "
        f"the probes tell {last.people} training people apart in a clip they did not learn from (guessing gives "
        f"{100 / last.people:.1f} %). Between people lie {100 * tied['chosen']:.0f} % of the units' spread in the clips "
        f"trained on, and {100 * tied['held out']:.0f} % in the held-out ones.",
    ]
    return "\n".join([*lines, *_verdict(by_share)]) + "\n"


def _verdict(by_share: dict[float, list[Outcome]]) -> list[str]:
    """Seed by seed against no adversary: whether the leak falls, and what happens to strangers' units."""
    plain = {one.seed: one for one in by_share[0.0]}
    said = []
    for share, found in by_share.items():
        pairs = [(plain[one.seed], one) for one in found if share and one.seed in plain]
        if not pairs:
            continue
        less = all(one.linear < before.linear for before, one in pairs)
        gains = [one.f1 - before.f1 for before, one in pairs]
        how = "holds" if min(gains) > -HELD else "does not hold"
        how = "rises" if all(gain > 0 for gain in gains) else how
        leak = "falls with every seed" if less else "does not fall with every seed"
        said.append(f"At {share:g} the linear probe {leak}; F1 {how} with every seed ({spread(gains)} points).")
    return ["", *said] if said else []


def draw(outcomes: Sequence[Outcome]) -> Image.Image:
    """Both measures against the strength: a point for each run and a line through the means."""
    width, height, edge = 720, 420, 60
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    step = (width - 2 * edge) / (len(SHARES) - 1)

    def place(share: float, value: float) -> tuple[float, float]:
        return edge + SHARES.index(share) * step, height - edge - value * (height - 2 * edge)

    for tick in range(0, 11, 2):
        _, y = place(0.0, tick / 10)
        pen.line((edge, y, width - edge, y), fill=(225, 225, 225))
        pen.text((edge - 8, y), f"{tick / 10:.1f}", fill="black", anchor="rm")
    for share in SHARES:
        x, y = place(share, 0.0)
        pen.text((x, y + 14), f"{share:g}", fill="black", anchor="mm")
    pen.text((width / 2, height - 18), "lambda / number of training people", fill="black", anchor="mm")
    inks = {"f1": (20, 90, 170), "linear": (200, 60, 30), "two_layers": (230, 150, 40)}
    words = {"f1": "F1, held-out people", "linear": "identity, linear probe", "two_layers": "identity, two layers"}
    for row, (name, ink) in enumerate(inks.items()):
        means = []
        for share in SHARES:
            values = [float(getattr(one, name)) for one in outcomes if one.share == share]
            for value in values:
                x, y = place(share, value)
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), outline=ink)
            if values:
                means.append(place(share, statistics.fmean(values)))
        if len(means) > 1:
            pen.line(means, fill=ink, width=2)
        pen.text((edge + 10 + row * 200, 24), words[name], fill=ink, anchor="lm")
    return picture


def _recipe_of(recipe: ActionUnitsRecipe, share: float, seed: int, people: int, folder: Path) -> ActionUnitsRecipe:
    out = folder / f"share-{share:g}-seed-{seed}"
    run = recipe.run.model_copy(update={"seed": seed, "out": out})
    return recipe.model_copy(update={"reversal": share * people, "run": run, "name": out.name})


def _decided_by(recipe: ActionUnitsRecipe) -> str:
    tree = recipe.model_dump(mode="json", exclude={"origin", "run", "name", "encoder"})
    return digest([tree, encoder_digest(recipe.encoder), recipe.run.seed, recipe.run.precision])


def _outcome(recipe: ActionUnitsRecipe, share: float, seed: int, leak: Leak) -> Outcome:
    report: dict[str, Any] = json.loads((recipe.run.out / REPORT).read_text(encoding="utf-8"))["all"]
    outcome = Outcome(
        share=share,
        seed=seed,
        f1=report["f1_at_half"]["mean"][0],
        f1_best_single=report["f1_at_best_single"]["mean"][0],
        icc=report["icc_3_1"]["mean"][0] if "icc_3_1" in report else None,
        linear=leak.linear.value,
        two_layers=leak.two_layers.value,
        people=leak.people,
        decided_by=_decided_by(recipe),
    )
    write_json(recipe.run.out / RESULT_FILE, asdict(outcome))
    return outcome
