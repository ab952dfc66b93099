"""`faces.method: lnet`: the LNets in CenterFace's place, and pictures that stay filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from streamfx_operators.faces import Faces, FacesConfig
from streamfx_operators.lnet_detector import LNetDetector, look_at_lnet

from streamfx.errors import ModelError
from streamfx.models.attributes import AttributesModel
from streamfx.models.card import resolve_model
from streamfx.operator import models_of
from streamfx.privacy.pictures import Pictures
from streamfx.testing import make_context, make_frame, make_privacy, make_segment, run_faces


@pytest.fixture(scope="module")
def model() -> AttributesModel:
    return AttributesModel.load(resolve_model("attributes-lnet"))


def test_a_face_is_found_where_the_nets_respond_and_not_below_the_threshold(model: AttributesModel) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    kept = model.net.lnets.thresholds.clone()
    model.net.lnets.thresholds.fill_(1e-6)
    found = LNetDetector(model).detect(picture, 0.5)
    assert len(found) == 1 and found[0].score > 0.5
    box = found[0]
    assert box.x1 - box.x0 == pytest.approx(box.y1 - box.y0) and 0 < (box.x0 + box.x1) / 2 < 128
    assert all(box.x0 < x < box.x1 and box.y0 < y < box.y1 for x, y in box.landmarks)
    model.net.lnets.thresholds.fill_(1e6)
    assert LNetDetector(model).detect(picture, 0.5) == []
    model.net.lnets.thresholds.copy_(kept)


def test_tracks_come_from_it_and_pictures_are_filled_whole() -> None:
    config = FacesConfig(method="lnet", detect_every=1)
    segment = make_segment([make_frame(number) for number in range(3)])
    tracked = run_faces(Faces(config, make_context()), [segment])
    assert tracked and not any(frame.regions is None for frame in tracked)  # None would say that the detector failed
    for mask_dilation in (1.0, 1.4):
        pictures = Pictures(make_privacy(mask_dilation=mask_dilation))
        assert not any(pictures.mask(frame, tracked).pixels.any() for frame in tracked)


def test_the_lnets_version_is_the_faces_provenance_and_centerface_has_none(model: AttributesModel) -> None:
    """Other LNets find other faces, so rows must tell them apart as they do other scores."""
    faces = Faces(FacesConfig(method="lnet"), make_context())
    assert models_of({"faces": faces}) == {"faces": {"model": "attributes-lnet", "model_version": model.info.version}}
    assert models_of({"faces": Faces(FacesConfig(), make_context())}) == {}


def test_weights_without_lnets_are_refused() -> None:
    with pytest.raises(ModelError, match=r"expected weights of the method lnet_anet, got attributes-shared"):
        look_at_lnet("attributes-shared")


def test_find_face_says_which_weights_it_needs() -> None:
    shared = AttributesModel.load(resolve_model("attributes-shared"))
    with pytest.raises(ValueError, match="has no LNets"):
        shared.find_face(np.zeros((32, 32, 3), np.uint8))


def test_it_needs_no_gradients(model: AttributesModel) -> None:
    assert not any(value.requires_grad for value in model.net.parameters())
    assert isinstance(model.net.lnets.thresholds, torch.Tensor) and Path(resolve_model("attributes-lnet")).is_dir()
