"""The face-api net in torch gives the logits of the JavaScript net, from the published weights alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.lacking import lacks
from skimage import data

from streamfx.errors import MissingComponent
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train import face_api
from streamfx.train.face_api import FaceApi, load_face_api

CACHE = Path(os.environ.get("STREAMFX_TEST_FACE_API", "out/test-face-api"))
"""Folder that is kept between runs, so that the weights are fetched once."""

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
    try:
        return load_face_api(CACHE)
    except MissingComponent as error:
        lacks("the npm registry, which has the face-api net", str(error))


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


def test_another_size_is_refused(net: FaceApi) -> None:
    with pytest.raises(ValueError, match=r"expected \[N, 112, 112, 3\], got \[1, 3, 112, 112\]"):
        net(torch.zeros(1, 3, 112, 112))


def test_cached_weights_need_no_network(net: FaceApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_face_api(tmp_path)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    again = load_face_api(tmp_path)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in again.state_dict().items())


def test_a_damaged_file_is_fetched_again(net: FaceApi, tmp_path: Path) -> None:
    load_face_api(tmp_path)
    [weights] = tmp_path.rglob("*.bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"?")
    load_face_api(tmp_path)
    assert weights.read_bytes() == whole


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://127.0.0.1:9 ", "http://[", "no address"])
def test_a_missing_network_is_reported_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("npm_config_registry", address)
    with pytest.raises(MissingComponent, match=rf"cannot be fetched from {re.escape(address)}/.*npm_config_registry"):
        load_face_api(tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_another_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "registry" / face_api.PACKAGE / "-" / f"face-api-{face_api.VERSION}.tgz"
    package.parent.mkdir(parents=True)
    package.write_bytes(b"not the one")
    monkeypatch.setenv("npm_config_registry", (tmp_path / "registry").as_uri())
    with pytest.raises(MissingComponent, match="expected the package with sha512"):
        load_face_api(tmp_path / "cache")
