"""The attributes' recipe: LNet+ANet from attribute tags alone, or a head on a frozen face encoder, to a directory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.models.attributes import AttributesSizes, card_of
from streamfx.models.card import WEIGHTS_FILE, save_model, version_of
from streamfx.nets.lnet import LNet, LNetSizes
from streamfx.nets.lnet_anet import ANetSizes, LNetANet, initialise
from streamfx.nets.shared_encoder import SharedEncoder, SharedSizes
from streamfx.train.attribute_phases import (
    FACE_VIEW,
    WHOLE_VIEW,
    IdentityPhase,
    LNetPhase,
    PairBatches,
    SharedTags,
    SquareBatches,
    TaggedANet,
    TagPhase,
    columns_of,
    head_seed,
)
from streamfx.train.attribute_pictures import Floats, Pictures, open_pictures, whole_squares
from streamfx.train.attribute_recipe import SETS_APART, AttributesRecipe, LNetSteps
from streamfx.train.attribute_settle import fit_frame, fit_scale, fit_svms, loose, set_thresholds, windows_of
from streamfx.train.attribute_truth import KNOWN
from streamfx.train.encoder_file import load_square_encoder
from streamfx.train.loop import derived, train
from streamfx.train.results import write_json

MODEL_FOLDER = "model"
REPORT = "attributes-settled.json"


def train_attributes(recipe: AttributesRecipe) -> Path:
    """Train a model and return its directory in `recipe.run.out`. Resumes where an earlier call was killed.

    Writes the curves of each phase, and `attributes-settled.json`: what was set after training.
    """
    data = recipe.data
    pictures = open_pictures(data.train, data.cache)
    calibration = open_pictures([*data.calibration, *data.empty], data.cache)
    people, others = pictures.some(~pictures.empty), calibration.some(~calibration.empty)
    if recipe.method == "shared_encoder":
        return _shared(recipe, people, others)
    sizes = AttributesSizes("lnet_anet", lnet=LNetSizes(), anet=ANetSizes())
    assert sizes.lnet and sizes.anet
    net = LNetANet(sizes.lnet, sizes.anet, len(KNOWN))
    initialise(net, derived(recipe.run.seed, "attributes"))
    _lnet(recipe, "lnet_o", net.lnets.lnet_o, pictures, whole_squares(pictures), sizes.lnet.whole)
    heads = windows_of(net.lnets.lnet_o, pictures, sizes.lnet.whole, whole_squares(pictures))
    _lnet(recipe, "lnet_s", net.lnets.lnet_s, pictures, loose(heads), sizes.lnet.part)
    apart = people.people % SETS_APART == SETS_APART - 1
    _anet(recipe, net, people.some(~apart) if not apart.all() else people, sizes.image_size)
    net.eval()
    report: dict[str, object] = {"lnets": set_thresholds(net.lnets, calibration, recipe.false_faces)}
    learned = people.some(apart) if apart.any() else people
    report["svms"] = fit_svms(net, learned, others, columns_of(KNOWN), sizes.image_size)
    alone = others.some(others.groups["kind"] != "several")
    report["frame"] = fit_frame(net, alone if len(alone) else others, columns_of(KNOWN), sizes.image_size)
    return _save(recipe, net.state_dict(), sizes, report)


def _lnet(recipe: AttributesRecipe, name: str, target: LNet, pictures: Pictures, squares: Floats, side: int) -> None:
    """Train an LNet with a head that is thrown away, and put its layers into `target`."""
    section: LNetSteps = getattr(recipe, name)
    net = LNet(len(KNOWN))
    initialise(net, derived(recipe.run.seed, name))
    batches = SquareBatches(pictures, squares, KNOWN, side, WHOLE_VIEW, section, recipe.run.seed, name)
    # LNet_o decides where LNet_s looks; the places themselves may differ in their last bits at a restart.
    decided = [name, section.model_dump(), *recipe.decides, pictures.truth(), recipe.lnet_o.model_dump()]
    train(LNetPhase(name.replace("_", "-"), net, batches, section, decided), recipe.run)
    target.layers.load_state_dict(net.layers.state_dict())
    target.eval()


def _anet(recipe: AttributesRecipe, net: LNetANet, people: Pictures, side: int) -> None:
    """Pre-train ANet on who people are, then train it on attributes."""
    run, squares = recipe.run, people.faces()
    names = {person: number for number, person in enumerate(sorted(set(people.people.tolist())))}
    numbered = Pictures(
        people.stored,
        people.rows,
        people.labels,
        np.array([names[person] for person in people.people.tolist()], np.int64),
        people.boxes,
        people.rolls,
        people.groups,
    )
    identity = PairBatches(numbered, squares, KNOWN, side, FACE_VIEW, recipe.identity, run.seed, IdentityPhase.name)
    known = TaggedANet(net.anet, len(names), head_seed(run.seed, "identity"))
    decided = [recipe.identity.model_dump(), *recipe.decides, numbered.truth()]
    train(IdentityPhase(known, identity, recipe.identity, decided), run)
    tagged = TaggedANet(net.anet, len(KNOWN), head_seed(run.seed, "attributes"))
    section = recipe.attributes
    batches = SquareBatches(people, squares, KNOWN, side, FACE_VIEW, section, run.seed, "anet")
    train(TagPhase("anet-attributes", tagged, batches, section, [section.model_dump(), *decided]), run)


def _shared(recipe: AttributesRecipe, people: Pictures, others: Pictures) -> Path:
    if recipe.encoder is None:
        raise ConfigError("encoder: expected an encoder file or an expression model's directory, got none")
    state, square = load_square_encoder(recipe.encoder)
    encoder = SharedSizes(**asdict(square))
    sizes = AttributesSizes("shared_encoder", encoder.image_size, encoder=encoder)
    net = SharedEncoder(encoder, len(KNOWN))
    initialise(net, derived(recipe.run.seed, "shared"))
    net.encoder.load_state_dict(state)
    section = recipe.attributes
    batches = SquareBatches(
        people, people.faces(), KNOWN, encoder.image_size, FACE_VIEW, section, recipe.run.seed, "shared"
    )
    digest = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
    decided = [section.model_dump(), *recipe.decides, people.truth(), digest]
    train(TagPhase("shared-attributes", SharedTags(net), batches, section, decided), recipe.run)
    net.eval()
    report: dict[str, object] = {"head": fit_scale(net, others, columns_of(KNOWN), encoder.image_size)}
    return _save(recipe, net.state_dict(), sizes, report)


def _save(
    recipe: AttributesRecipe, given: dict[str, Tensor], sizes: AttributesSizes, report: dict[str, object]
) -> Path:
    write_json(recipe.run.out / REPORT, report)
    directory = recipe.run.out / MODEL_FOLDER
    dtype = torch.float16 if recipe.weights == "float16" else torch.float32
    state = {name: value.detach().to(dtype).contiguous() for name, value in given.items()}
    version = version_of(state, json.dumps([asdict(sizes), KNOWN], sort_keys=True))
    origin = recipe.origin
    card = card_of(
        recipe.name, version, sizes, KNOWN, origin.licence, origin.source, trained=True, weights=WEIGHTS_FILE
    )
    save_model(directory, state, card)
    return directory
