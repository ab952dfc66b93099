"""The face-api net in torch gives the logits of the JavaScript net, from the published weights alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.expert import require_face_api
from skimage import data

from streamfx.models.outside import load_face_api
from streamfx.nets.face_api import FaceApi
from streamfx.nets.mma_dfer import LABELS_7

ASTRONAUT = (slice(60, 172), slice(168, 280))
CAT = (slice(50, 162), slice(150, 262))
FACE_API_LOGITS = {
    "astronaut": [15.065938, -12.686275, -11.991569, -15.824164, -14.219769, -13.586021, -12.266148],
    "cat": [-11.274602, -3.728616, -8.808141, -8.633799, -16.356989, -14.805023, -11.856544],
    "grey": [-2.404310, -3.816296, -0.455120, -3.307210, -4.669285, -3.498877, -7.940747],
    "noise": [-3.525856, -1.416103, -1.555920, -3.444189, -2.783877, -4.133101, -5.079841],
}
"""Logits of face-api 1.7.15 itself in Node (its bundled tfjs, CPU backend), in the order of LABELS_7."""


@pytest.fixture(scope="module")
def net() -> FaceApi:
    require_face_api()
    return load_face_api()


def pictures() -> torch.Tensor:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    grey = np.full((112, 112, 3), 128, np.uint8)
    return torch.from_numpy(np.stack([data.astronaut()[ASTRONAUT], data.cat()[CAT], grey, noise]))


def test_logits_are_those_of_the_javascript_net(net: FaceApi) -> None:
    features, logits = net(pictures())
    assert features.shape == (4, 256) and features.dtype == logits.dtype == torch.float32
    assert torch.allclose(logits, torch.tensor(list(FACE_API_LOGITS.values())), atol=1e-4)


def test_a_smile_is_happiness(net: FaceApi) -> None:
    _, logits = net(pictures()[:1])
    assert LABELS_7[int(logits.argmax())] == "happiness"
    assert logits.softmax(dim=1).max() > 0.99


def test_float_faces_mean_the_same_as_bytes(net: FaceApi) -> None:
    assert torch.equal(net(pictures().float())[1], net(pictures())[1])


def test_channels_may_come_first(net: FaceApi) -> None:
    for ours, theirs in zip(net.read(pictures().permute(0, 3, 1, 2)), net(pictures()), strict=True):
        assert torch.equal(ours, theirs)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[N, 112, 112, 3\], got \[1, 3, 112, 112\]"):
        FaceApi()(torch.zeros(1, 3, 112, 112))


def test_it_is_never_trained() -> None:
    net = FaceApi()
    assert not net.training and not any(value.requires_grad for value in net.parameters())
