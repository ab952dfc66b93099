"""Makes a set of questions and answers about faces: reads, asks, checks for leaks, and only then writes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from streamfx.errors import ConfigError, PrivacyRefusal, SynthError
from streamfx.terminal import ProgressBar
from streamfx.train.face_qa.balance import chance
from streamfx.train.face_qa.captions import render, worth_telling
from streamfx.train.face_qa.card import data_card
from streamfx.train.face_qa.correct import SeenFacts, corrected
from streamfx.train.face_qa.endpoint import Captioner, Estimate
from streamfx.train.face_qa.facts import FACTS, UNKNOWN
from streamfx.train.face_qa.labelled import LABELLED
from streamfx.train.face_qa.leak import check_leaks
from streamfx.train.face_qa.pictures import Pictures, drawn_pictures, join, without_doubles
from streamfx.train.face_qa.questions import questions
from streamfx.train.face_qa.table import (
    CARD_FILE,
    IMAGES_FILE,
    QUESTION_COLUMNS,
    QUESTIONS_FILE,
    write_rows,
)
from streamfx.whole_files import write_whole

CROP_MARGIN = 1.2
"""Side of the picture that an endpoint sees, as a multiple of the face's."""


@dataclass(frozen=True)
class Sources:
    """Folders to ask about. The people of `drawn` are dealt to the splits that have no folders of their own; `labelled`
    are keys of LABELLED with the places of their sets."""

    drawn: Sequence[Path] = ()
    validation: Sequence[Path] = ()
    test: Sequence[Path] = ()
    labelled: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Asking:
    """A model that is to write captions of the pictures of training. `agreed` is asked with the estimate before anything
    is sent. Only drawn people are shown to it, unless `real_people`."""

    captioner: Captioner
    model: str
    agreed: Callable[[Estimate], bool]
    real_people: bool = False
    correct_by: str = ""
    """A model for attributes, by which captions of labelled pictures are corrected where their labels say nothing."""


def make_questions(
    sources: Sources, out: Path, seed: int, asking: Asking | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the set into `out`, and return its questions and images. Equal sources, captions and seed give equal bytes.

    ConfigError or SynthError for a source that cannot be used, and where the splits leak; then nothing is written.
    PrivacyRefusal where pictures of real people would be sent to an endpoint without leave.
    """
    if asking and sources.labelled and not asking.real_people:
        raise PrivacyRefusal(
            f"{', '.join(sources.labelled)} show real people, whose pictures are not sent to an endpoint; leave them out, or "
            "give --captions-of-real-people if you may pass them on"
        )
    pictures = without_doubles(_read(sources, seed))
    captions = drawn_captions(pictures, seed)
    if asking:
        captions = _asked(pictures, captions, sources, asking, seed)
    rows = questions(pictures, captions, seed)
    columns, kinds = pictures.all_columns()
    asked, images = pd.DataFrame(rows), pd.DataFrame(columns)
    check_leaks(asked, images)
    try:
        write_rows(out / QUESTIONS_FILE, rows, QUESTION_COLUMNS)
        write_rows(out / IMAGES_FILE, columns, kinds)
        by = (asking.model, asking.correct_by) if asking else ("", "")
        write_whole(out / CARD_FILE, data_card(asked, images, seed, *by))
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror or error}; name another folder") from error
    return asked, images


def drawn_captions(pictures: Pictures, seed: int) -> list[str]:
    """A caption by the grammar of each drawn picture, by what is known of it; "" for others, of which too little is."""
    rng = chance(seed, "captions")
    columns = [pictures.facts[name] for name in FACTS]
    drawn = pictures.columns["clip"] != ""
    return [
        render(worth_telling(dict(zip(FACTS, values, strict=True)), rng), rng) if of_clip else ""
        for of_clip, *values in zip(drawn, *columns, strict=True)
    ]


def _read(sources: Sources, seed: int) -> Pictures:
    given = [split for split in ("validation", "test") if getattr(sources, split)]
    parts = [drawn_pictures(root, None, seed, given) for root in sources.drawn]
    parts += [drawn_pictures(root, split, seed) for split in given for root in getattr(sources, split)]
    parts += [LABELLED[name](root, seed) for name, root in sources.labelled.items()]
    if not parts:
        raise ConfigError("expected at least one set of pictures to ask about, got none; give --drawn, for instance")
    pictures = join(parts)
    names, times = np.unique(pictures.columns["image_id"].astype(str), return_counts=True)
    if (times > 1).any():
        raise ConfigError(
            f"{names[times > 1][0]}: expected each picture in one set alone, got it in {times.max()}; drawn sets of one seed "
            "show the same people, so give each set once, and sets of different seeds"
        )
    return pictures


def _asked(pictures: Pictures, captions: Sequence[str], sources: Sources, asking: Asking, seed: int) -> list[str]:
    """The captions, with those of the endpoint for pictures of training in place of the grammar's, corrected by what is
    known."""
    roots = {root.resolve().name: root for root in (*sources.drawn, *sources.validation, *sources.test)}
    shown = np.flatnonzero(pictures.columns["split"] == "train").tolist()
    labelled = {name: root.parent if root.is_file() else root for name, root in sources.labelled.items()}

    def picture(place: int) -> bytes:
        return picture_file(pictures, shown[place], roots | labelled)

    # A model that is not there is said before anything is asked.
    with SeenFacts(asking.correct_by) if asking.correct_by else nullcontext() as seen:
        estimate = asking.captioner.estimate(picture, len(shown))
        if not asking.agreed(estimate):
            raise ConfigError("nothing was asked and nothing was written, since the estimate was not agreed to")
        texts = asking.captioner.captions(picture, len(shown))
        found, rng = [*captions], chance(seed, "corrections")
        with ProgressBar(" captions", len(shown), title="correcting") as bar:
            for place, number in enumerate(bar.over(shown)):
                known = {name: str(values[number]) for name, values in pictures.facts.items()}
                if seen and not pictures.columns["clip"][number]:
                    known = seen.of(picture(place)) | {name: value for name, value in known.items() if value != UNKNOWN}
                found[number] = corrected(texts[place], known, rng) or found[number]
    return found


def picture_file(pictures: Pictures, number: int, roots: Mapping[str, Path]) -> bytes:
    """A picture as a file: the face cut from its frame as PNG, or the file itself. `roots` are the folders by source."""
    about = {name: values[number] for name, values in pictures.columns.items()}
    root, file = roots[str(about["source"])], str(about["file"])
    if not about["clip"]:
        # UTKFace's are listed with a star in place of what is not kept.
        found = next((root / file).parent.glob(Path(file).name), root / file)
        return found.read_bytes()
    frames, at = _frames(root / file), int(about["frame_index"])
    if at >= len(frames):
        raise SynthError(f"{root / file}: expected a frame {at}, got {len(frames)} frames; make the set again")
    x0, y0, x1, y1 = (float(about[f"box_{edge}"]) for edge in ("x0", "y0", "x1", "y1"))
    half = max(x1 - x0, y1 - y0) * CROP_MARGIN / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    out = io.BytesIO()
    Image.fromarray(frames[at]).crop((round(x - half), round(y - half), round(x + half), round(y + half))).save(
        out, "PNG"
    )
    return out.getvalue()


@lru_cache(maxsize=4)  # the frames of a clip are asked about one after the other
def _frames(path: Path) -> list[npt.NDArray[np.uint8]]:
    try:
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (OSError, av.FFmpegError) as error:
        raise SynthError(f"cannot read the clip {path}: {error}; make the set again") from error
