"""Drawn faces in place of filled ones, beside the solid fill: leaks, expressions, recognition, flicker and cost.

    python benchmarks/surrogate.py [--real DIR] [--set DIR --people 15] --out FILE [--strip PICTURE]

`--real` is a folder of films, `--set` a set of `streamfx synth` of which two clips of each of some people are taken. Each film
is looked at once, and its frames are filled both ways. What is asked of each frame and face:

- leaks: the frame is filled again with noise in place of the person; do the pictures differ anywhere, solid or drawn? Then
  something of the person got through. And is every pixel outside the fill the film's own?
- expression: which of seven a net of others (face-api) names on the same square of the film as it was and of the drawn
  face; it is asked of every fourth frame, or of every one of a slow film, and of the mean of its answers over a film. It is
  a part of the shipped expression model, so it is outside of the drawing but not of the reading: where action units are read
  it has no part. Of drawings it is asked too of faces that the drawings' own action units move: what the painting alone costs.
- flicker: mean absolute difference of luma between neighbouring frames, of the square that follows the face (the mean of boxes
  over 0.2 s), 112 pixels a side; drawn, and filled solid, against as it was. Only films of 10 frames a second or more have one.
- recognition: a published recogniser (dlib's, see reidentify.py) names the person of a drawn face from one film of each person
  whose face is shown, and from one that was drawn as well. Without dlib it is left out.
- cost: seconds of the processor a frame for the look, and for what drawn faces add: the reading and the painting.

The file is written after each film, so that what was measured stays when the run is ended.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from reidentify import named, recogniser

from streamfx.detection.also import film_detector
from streamfx.media.crop import crop
from streamfx.models.outside import fetch_face_api
from streamfx.nets.face_api import SIZE
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.privacy.fills import SOLID
from streamfx.privacy.pictures import fill_regions
from streamfx.records import CropBox
from streamfx.redaction.film import Film, FilmFrame
from streamfx.redaction.masks import Masks
from streamfx.redaction.sightings import find_faces
from streamfx.redaction.smooth import around
from streamfx.redaction.surrogates import Surrogates, film_seeds, find_drawing
from streamfx.redaction.tracks import Track, link
from streamfx.synth.actions import AUS
from streamfx.synth.surrogate import GAIN

Pixels = npt.NDArray[np.uint8]
EVERY, AROUND, FOLLOWED_S, LEAST_RATE = 4, 1.15, 0.2, 10
"""Frames from one question about expressions to the next; side of a square in heights of the face; see the text."""
LEAK_EVERY = 10
"""Frames from one check for leaks to the next."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder of films")
    parser.add_argument("--set", type=Path, help="a finished set of `streamfx synth`")
    parser.add_argument("--people", type=int, default=15)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strip", type=Path, help="a picture of some faces as they were and as they are drawn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    drawing, lack = find_drawing()
    if lack is not None or drawing.reader is None or drawing.painter is None:
        sys.exit(f"no face can be drawn here: {lack}")
    tools = Tools(drawing.reader, drawing.painter)
    films: list[dict[str, Any]] = []
    for kind, person, path, truth in [*_drawn(args.set, args.people), *_real(args.real)]:
        films.append({"film": path.name, "kind": kind, "person": person, **tools.film(path, truth)})
        args.out.write_text(json.dumps({"summary": summary(films, tools.vectors(films)), "films": films}, indent=1))
        print(path.name, films[-1]["painted"], films[-1]["left"], file=sys.stderr, flush=True)
    if args.strip:
        tools.strip(args.strip)


Truth = Sequence[dict[str, float]]
"""For each frame of a drawing its action units; of a real film there is none."""


def _real(folder: Path | None) -> Iterator[tuple[str, str, Path, Truth]]:
    for path in sorted(folder.iterdir()) if folder else ():
        if path.suffix in (".mp4", ".mpg"):
            yield "real", path.stem, path, []


def _drawn(folder: Path | None, people: int) -> Iterator[tuple[str, str, Path, Truth]]:
    """Two clips of each of the first people who have two that show one uncovered face from the front."""
    if folder is None:
        return
    from streamfx.synth.output import read_set

    _, clips, frames = read_set(folder)
    truth = frames[frames["face"] == 0].sort_values("frame").groupby("clip")
    clips = clips[clips["kind"] == "frontal"]
    chosen = [own["clip"].tolist()[:2] for _, own in clips.groupby("identity", sort=True) if len(own) >= 2][:people]
    for number, own in enumerate(chosen):
        for clip in own:
            units = truth.get_group(clip)[list(AUS)].to_dict("records")
            yield "drawn", f"person {number}", folder / "clips" / f"{clip}.mp4", units


class Tools:
    """What is asked of each film, and the squares of faces that are kept of it."""

    def __init__(self, reader: Any, painter: Any):
        self._reader, self._painter, self._judge = reader, painter, fetch_face_api()
        self._detector, self._random = film_detector(()), np.random.default_rng(0)
        self._embed: Any = None
        try:
            self._embed = recogniser()
        except SystemExit as missing:
            print(f"nobody is asked who is who: {missing}", file=sys.stderr)
        self._squares: list[tuple[Pixels, Pixels] | None] = []
        self._known: list[tuple[Any, Any] | None] = []

    def film(self, path: Path, truth: Truth) -> dict[str, Any]:
        """The figures of one film, of which `truth` is what each frame's face does, if it is known."""
        film, began = Film(path), time.process_time()
        seen = find_faces(film.frames(), film.time_base, self._detector, 1)
        tracks = link(seen, film.time_base)
        looked, began = time.process_time() - began, time.process_time()
        courses = self._reader.read(film.frames(), film.time_base, tracks)
        read = time.process_time() - began
        faces = Surrogates(tracks, courses, self._painter, film_seeds(path.name.encode()))
        times_s = [float(ticks * film.time_base) for ticks in seen.ticks]
        masks = Masks(tracks, film.width, film.height).of_tracks(times_s)
        told: Counter[str] = Counter()
        costs: dict[str, float] = defaultdict(float)
        pairs: list[tuple[Pixels, Pixels]] = []
        true_pairs: list[tuple[Pixels, Pixels]] = []
        courses_of: dict[int, list[tuple[int, Pixels, Pixels, Pixels]]] = defaultdict(list)
        for number, (frame, shown) in enumerate(zip(film.frames(), masks, strict=True)):
            if number in seen.unsure:
                told["whole"] += 1
                continue
            regions = [region for _, region in shown]
            began = time.process_time()
            solid = fill_regions(frame.pixels, regions)
            costs["solid"] += time.process_time() - began
            began = time.process_time()
            drawn = faces.at(times_s[number], shown)
            public = fill_regions(frame.pixels, regions, SOLID, drawn)
            costs["drawn"] += time.process_time() - began
            told["painted"] += public.painted
            if number % LEAK_EVERY == 0:
                self._leaks(frame, regions, drawn, solid.pixels, public.pixels, told)
            for one in drawn:
                track = shown[one.region][0]
                box = _followed(track, times_s[number], film.width, film.height)
                both = crop(frame.pixels, box, SIZE), crop(public.pixels, box, SIZE)
                courses_of[id(track)].append((number, *both, crop(solid.pixels, box, SIZE)))
                if number % EVERY == 0 or film.rate < LEAST_RATE:
                    pairs.append(both)
                    if truth:
                        units = {unit: float(value) / GAIN for unit, value in truth[number].items()}
                        known = replace(one, controls=replace(one.controls, action_units=units, units_count=1.0))
                        moved = fill_regions(frame.pixels, regions, SOLID, [known]).pixels
                        true_pairs.append((both[0], crop(moved, box, SIZE)))
        count = len(times_s)
        self._squares.append(pairs[len(pairs) // 2] if pairs else None)
        return {
            "frames": count, "faces": len(tracks), "painted": told["painted"], "left": faces.left(told["painted"]),
            "leaks": {name: told[name] for name in ("checked", "solid_differs", "drawn_differs", "outside_differs")},
            "expression": self._expressions(pairs), "expression_by_truth": self._expressions(true_pairs),
            "flicker": _flicker(courses_of.values(), film),
            "ms_a_frame": {
                "look": 1e3 * looked / count, "solid": 1e3 * costs["solid"] / count, "read": 1e3 * read / count,
                "paint": 1e3 * (costs["drawn"] - costs["solid"]) / count,
            },
        }  # fmt: skip

    def _leaks(
        self, frame: FilmFrame, regions: Sequence[Any], drawn: Sequence[Any], solid: Pixels, public: Pixels, told: Any
    ) -> None:
        """Fill the frame again with noise in all that is filled, and compare."""
        hidden = np.ones(frame.pixels.shape, np.uint8)
        inside = fill_regions(hidden, regions).pixels == 0
        noisy = np.where(inside, self._random.integers(0, 256, frame.pixels.shape, np.uint8), frame.pixels)
        told["checked"] += 1
        told["solid_differs"] += bool((fill_regions(noisy, regions).pixels != solid).any())
        told["drawn_differs"] += bool((fill_regions(noisy, regions, SOLID, drawn).pixels != public).any())
        told["outside_differs"] += bool((public != frame.pixels)[~inside].any())

    def _expressions(self, pairs: Sequence[tuple[Pixels, Pixels]]) -> dict[str, Any]:
        """The outside judge's answers before and after."""
        if not pairs:
            return {}
        with torch.inference_mode():
            before, after = (
                self._judge(torch.from_numpy(np.stack(side)))[1].softmax(-1).numpy()
                for side in zip(*pairs, strict=True)
            )
        return {
            "asked": len(pairs),
            "agree": int((before.argmax(1) == after.argmax(1)).sum()),
            "before": LABELS_7[int(before.mean(0).argmax())],
            "after": LABELS_7[int(after.mean(0).argmax())],
            "named_before": Counter(LABELS_7[n] for n in before.argmax(1)),
            "named_after": Counter(LABELS_7[n] for n in after.argmax(1)),
        }

    def vectors(self, films: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Who is named, of the drawn people of whom both clips have been drawn over."""
        if self._embed is None:
            return None
        for pair in self._squares[len(self._known) :]:
            chips = [] if pair is None else [np.asarray(Image.fromarray(side).resize((150, 150))) for side in pair]
            self._known.append(None if pair is None else (self._embed(chips[0]), self._embed(chips[1])))
        people: dict[str, list[Any]] = defaultdict(list)
        for film, known in zip(films, self._known, strict=True):
            if film["kind"] == "drawn" and known is not None:
                people[film["person"]].append(known)
        both = [own for own in people.values() if len(own) == 2]
        if len(both) < 2:
            return None
        shown, drawn = ([[one[side] for one in own] for own in both] for side in (0, 1))
        return {
            "people": len(both), "chance": 1 / len(both), "as_they_were": named(shown, shown),
            "shown_gallery": named(shown, drawn), "drawn_gallery": named(drawn, drawn),
        }  # fmt: skip

    def strip(self, path: Path) -> None:
        """Up to eight faces, as they were above and as they are drawn below."""
        some = [pair for pair in self._squares if pair is not None][:8]
        rows = [np.concatenate([pair[side] for pair in some], axis=1) for side in (0, 1)]
        Image.fromarray(np.concatenate(rows)).save(path)


def _followed(track: Track, time_s: float, width: int, height: int) -> CropBox:
    near, weights = around(track.times_s, time_s, FOLLOWED_S)
    x0, y0, x1, y1 = (float(edge) for edge in weights @ track.boxes(near))
    return CropBox((x0 + x1) / 2, (y0 + y1) / 2, AROUND * (y1 - y0), 0.0, width, height)


def _flicker(courses: Iterable[Sequence[tuple[int, Pixels, Pixels, Pixels]]], film: Film) -> dict[str, float]:
    """Mean difference from frame to frame as it was, drawn and filled solid, and how many there are."""
    if film.rate < LEAST_RATE:
        return {}
    steps: list[list[float]] = []
    for course in courses:
        for (number, *before), (following, *after) in itertools.pairwise(course):
            if following == number + 1:
                sides = zip(before, after, strict=True)
                steps.append([float(np.abs(_luma(later) - _luma(earlier)).mean()) for earlier, later in sides])
    if not steps:
        return {}
    return {
        "steps": len(steps),
        **dict(zip(("was", "drawn", "solid"), map(float, np.mean(steps, axis=0)), strict=True)),
    }


def _luma(square: Pixels) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(square).convert("L"), np.float32)


def summary(films: Sequence[dict[str, Any]], recognised: dict[str, Any] | None) -> dict[str, Any]:
    """The figures of all films, by kind."""
    out: dict[str, Any] = {}
    for kind in sorted({film["kind"] for film in films}):
        own = [film for film in films if film["kind"] == kind]
        asked = [film["expression"] for film in own if film["expression"]]
        true = [film["expression_by_truth"] for film in own if film["expression_by_truth"]]
        steps = [film["flicker"] for film in own if film["flicker"]]
        left: Counter[str] = Counter()
        for film in own:
            left.update(film["left"])
        frames = sum(film["frames"] for film in own)
        out[kind] = {
            "films": len(own), "films_painted": len(asked), "frames": frames,
            "painted": sum(film["painted"] for film in own), "left": left,
            "leaks": {name: sum(film["leaks"][name] for film in own) for name in own[0]["leaks"]},
            "agreement_frames": _agreement(asked), "agreement_frames_by_truth": _agreement(true),
            "agreement_films": _ratio(sum(one["before"] == one["after"] for one in asked), len(asked)),
            "flicker_ratio": {
                name: _ratio(
                    sum(one[name] * one["steps"] for one in steps), sum(one["was"] * one["steps"] for one in steps)
                )
                for name in ("drawn", "solid")
            },
            "ms_a_frame": {
                name: sum(film["ms_a_frame"][name] * film["frames"] for film in own) / frames for name in own[0]["ms_a_frame"]
            },
        }  # fmt: skip
    return out | ({"recognition": recognised} if recognised else {})


def _agreement(answers: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The share of frames that are named alike; that of a face which is always named as most were before; and Cohen's kappa,
    which is 0 where names agree as often as they would by chance."""
    asked = sum(one["asked"] for one in answers)
    if not asked:
        return None
    before, after = (
        sum((Counter(one[name]) for one in answers), Counter()) for name in ("named_before", "named_after")
    )
    share, chance = sum(one["agree"] for one in answers) / asked, sum(before[k] * after[k] for k in before) / asked**2
    return {
        "asked": asked,
        "share": share,
        "always_the_most_frequent": max(before.values()) / asked,
        "kappa": (share - chance) / (1 - chance) if chance < 1 else None,
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


if __name__ == "__main__":
    main()
