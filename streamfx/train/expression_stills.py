"""Trains FMAE's encoder on the expressions of single pictures, in the layouts of RAF-DB and AffectNet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from streamfx.config.section import Section
from streamfx.errors import ConfigError
from streamfx.models.card import write_weights
from streamfx.nets.fmae import SIZES, Fmae, FmaeConfig
from streamfx.train.au_recipe import FmaeSteps
from streamfx.train.au_sets import picture
from streamfx.train.augment import View, show
from streamfx.train.batches import Shuffled
from streamfx.train.fmae_encoder import decays, encoder_digest, fill_encoder, layer_share
from streamfx.train.loop import Batch, Phase, Schedule, derived, device_of, train
from streamfx.train.metrics import confusion_matrix, recalls, uar, war
from streamfx.train.rand_augment import erase, rand_augment
from streamfx.train.results import write_json
from streamfx.train.stills import SUFFIXES

RAF_DB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB's labels 1 to 7."""
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""AffectNet's labels 0 to 7."""
CLASSIFIER, REPORT = "classifier.safetensors", "expression-stills-report.json"
_CHUNK = 64


class Pictures(Section):
    """A folder of pictures in one of the two layouts; see `read_stills`."""

    root: Path
    """Folder of the data set."""


class StillsData(Section):
    """The training data: exactly one of `raf_db` and `affectnet`."""

    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side of the square pictures, pixels."""
    raf_db: Pictures | None = None
    """RAF-DB, basic expressions: `EmoLabel/list_patition_label.txt` and `Image/aligned/<name>_aligned.jpg`."""
    affectnet: Pictures | None = None
    """AffectNet in folders by label: `train/<0..7>/*.jpg` and `test/<0..7>/*.jpg` (or `val`)."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.raf_db is None) == (self.affectnet is None):
            raise ValueError("exactly one of `raf_db` and `affectnet` must be given")
        return self


class StillsRecipe(FmaeSteps):
    """`streamfx train expression-stills`: FMAE with a head for expressions."""

    data: StillsData
    """Pictures to learn from; those of the test split are measured."""


def train_stills(recipe: StillsRecipe) -> Path:
    """Train, and return the file with the net's tensors in `recipe.run.out`. Resumes where an earlier call was killed.

    The net is that of the last epoch. Beside it lies `expression-stills-report.json`: WAR, UAR and recall on the test
    split.
    """
    labels, learned, tested = read_stills(recipe.data)
    net = Fmae(FmaeConfig(classes=len(labels), image_size=recipe.data.image_size, **SIZES[recipe.size]))  # type: ignore[arg-type]
    net.initialise(derived(recipe.run.seed, "fmae"))
    if recipe.encoder is not None:
        fill_encoder(net, recipe.encoder)
    phase = StillsPhase(net, learned, tested, recipe)
    train(phase, recipe.run)
    confusion = phase.measured()
    found = zip(labels, recalls(confusion), strict=True)
    report = {
        "pictures": int(confusion.sum()),
        "war": war(confusion),
        "uar": uar(confusion),
        "recall": {label: float(value) for label, value in found},
    }
    write_json(recipe.run.out / REPORT, report)
    file = recipe.run.out / CLASSIFIER
    about = {"labels": json.dumps(labels), **recipe.origin.model_dump()}
    write_weights(file, {name: value.contiguous() for name, value in net.state_dict().items()}, about)
    return file


Listed = Sequence[tuple[Path, int]]


def read_stills(data: StillsData) -> tuple[tuple[str, ...], Listed, Listed]:
    """The labels, and the pictures with their numbers of labels: to train on, and of the test split.

    Raises ConfigError for a folder that does not have the layout.
    """
    if data.raf_db is not None:
        return RAF_DB, *_raf_db(data.raf_db.root)
    assert data.affectnet is not None
    root = data.affectnet.root
    return AFFECTNET, _by_folder(root, ("train",)), _by_folder(root, ("test", "val"))


def _raf_db(root: Path) -> tuple[Listed, Listed]:
    file, parts = root / "EmoLabel" / "list_patition_label.txt", {"train": list[tuple[Path, int]](), "test": []}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data.raf_db: cannot read {file}: {error}") from error
    for number, line in enumerate(lines, 1):
        name, _, label = line.partition(" ")
        part = name.partition("_")[0]
        if part not in parts or label.strip() not in {str(one) for one in range(1, len(RAF_DB) + 1)}:
            raise ConfigError(
                f"{file}, line {number}: expected `train_00001.jpg 5` or `test_…`, labels 1 to {len(RAF_DB)}, got {line!r}"
            )
        aligned = root / "Image" / "aligned" / f"{Path(name).stem}_aligned.jpg"
        parts[part].append((aligned, int(label) - 1))
    for part, found in parts.items():
        if not found:
            raise ConfigError(f"{file}: expected pictures of the {part} split, found none")
        if not found[0][0].is_file():
            raise ConfigError(f"{file}: expected the picture {found[0][0]}, found none")
    return parts["train"], parts["test"]


def _by_folder(root: Path, names: Sequence[str]) -> Listed:
    folder = next((root / name for name in names if (root / name).is_dir()), root / names[0])
    found = [
        (file, label)
        for label in range(len(AFFECTNET))
        for file in sorted((folder / str(label)).glob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise ConfigError(f"data.affectnet: expected pictures in {folder}/<0..{len(AFFECTNET) - 1}>/, found none")
    return found


class StillsPhase(Phase):
    """Cross-entropy, with AdamW and a learning rate that decays from block to block."""

    name = "expression-stills"
    betas = (0.9, 0.999)

    def __init__(self, net: Fmae, learned: Listed, tested: Listed, recipe: StillsRecipe):
        net.drop_path = recipe.drop_path
        self.net: Fmae = net
        self._recipe, self._tested = recipe, tested
        self.batches = StillsBatches(learned, recipe)
        self.schedule = Schedule.of(recipe, self.batches.steps, recipe.least_rate)
        self.weight_decay, self.optimiser = recipe.weight_decay, recipe.optimiser
        tree = recipe.model_dump(mode="json", exclude={"origin", "run", "encoder"})
        shown = hashlib.sha256("".join(f"{file.name}{label}" for file, label in learned).encode()).hexdigest()
        run = recipe.run
        self.decided_by = [tree, encoder_digest(recipe.encoder), run.seed, run.precision, run.compile, shown]

    def rate_share(self, name: str) -> float:
        """See `layer_share`."""
        return layer_share(name, self.net.config.depth, self._recipe.layer_decay)

    def decays(self, name: str, value: Tensor) -> bool:
        """See `fmae_encoder.decays`."""
        return decays(name, value)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `Phase`."""
        return {"loss": F.cross_entropy(self.net(batch["pictures"]).float(), batch["target"])}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The mean loss; WAR and UAR on the test split."""
        confusion = self.measured()
        return {"loss": float(sums["loss"]) / steps, "test_war": war(confusion), "test_uar": uar(confusion)}

    @torch.no_grad()
    def measured(self) -> npt.NDArray[np.int64]:
        """The confusion matrix of the test split, each picture resized straight to its size."""
        device, named = device_of(self._recipe.run), []
        self.net.to(device).eval()
        for start in range(0, len(self._tested), _CHUNK):
            read = [picture(file, self._recipe.data.image_size) for file, _ in self._tested[start : start + _CHUNK]]
            shown = torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2)
            named.append(self.net(shown.to(device)).argmax(dim=1).cpu().numpy())
        truth = np.array([label for _, label in self._tested])
        return confusion_matrix(truth, np.concatenate(named), self.net.config.classes)


class StillsBatches(Shuffled):
    """Pictures, augmented: `pictures` float32 [N, 3, S, S] and `target` int64 [N]."""

    def __init__(self, listed: Listed, recipe: StillsRecipe):
        super().__init__(len(listed), recipe.batch_size, recipe.run.seed, "expression-stills")
        self._listed, self._size, self._augment = listed, recipe.data.image_size, recipe.augment
        self._view = View(recipe.augment.scale_min, recipe.augment.rotate_deg, recipe.augment.flip, 0.0)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """See `Shuffled`."""
        read = np.stack([picture(self._listed[item][0], self._size) for item in items])
        pictures = show(torch.from_numpy(read), 1.0, self._view.draw(len(items), generator), self._size)
        if self._augment.rand_augment:
            pictures = rand_augment(pictures, generator)
        target = torch.tensor([self._listed[item][1] for item in items])
        return {"pictures": erase(pictures, self._augment.erase, generator), "target": target}
