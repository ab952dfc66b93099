"""RandAugment and random erasing: pictures stay pictures, equal seeds give equal ones, and rectangles have their size."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from helpers.timm_vit import import_timm
from PIL import Image

from streamfx.train.rand_augment import _OPERATIONS, erase, rand_augment

TIMM = {
    "auto_contrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert", "rotate": "Rotate",
    "posterize": "PosterizeIncreasing", "solarize": "SolarizeIncreasing", "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing", "contrast": "ContrastIncreasing", "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}  # fmt: skip


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def test_pictures_stay_pictures_and_follow_from_the_seed() -> None:
    shown = pictures(40)
    once, again = (rand_augment(shown, torch.Generator().manual_seed(2)) for _ in range(2))
    assert once.shape == shown.shape and once.dtype == torch.float32
    assert once.min() >= 0 and once.max() <= 1 and torch.equal(once, again)
    untouched = ((once - shown).abs().amax(dim=(1, 2, 3)) < 0.003).float().mean()
    assert 0.1 < untouched < 0.6  # both operations are left out in a quarter of the pictures


def test_the_15_operations_are_timms_to_the_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """At magnitude 9 of 10; timm turns the sign round where it draws more than a half."""
    import_timm()
    theirs = importlib.import_module("timm.data.auto_augment")
    assert set(TIMM.values()) == set(theirs._RAND_INCREASING_TRANSFORMS) and set(TIMM) == set(_OPERATIONS)
    small = Image.fromarray((pictures(1)[0].permute(1, 2, 0) * 255).byte().numpy())
    picture = small.resize((48, 48), Image.Resampling.BILINEAR)
    for ours, name in TIMM.items():
        for drawn, sign in ((0.4, 1.0), (0.6, -1.0)):
            monkeypatch.setattr(theirs.random, "random", lambda drawn=drawn: drawn)
            level = theirs.LEVEL_TO_ARG[name]
            settings = level(9.0, {}) if level else ()
            filled = {"fillcolor": (128, 128, 128), "resample": Image.Resampling.BILINEAR}
            expected = theirs.NAME_TO_OP[name](picture, *settings, **filled)
            assert np.array_equal(np.asarray(_OPERATIONS[ours](picture, 0.9, sign)), np.asarray(expected)), ours


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_erased_rectangles_are_as_often_and_as_large_as_asked(probability: float) -> None:
    shown = pictures(200)
    changed = (erase(shown, probability, torch.Generator().manual_seed(0)) != shown).any(dim=1)
    share = changed.flatten(1).float().mean(dim=1)
    assert abs(float((share > 0).float().mean()) - probability) < 0.1
    assert all(0.01 <= float(one) <= 0.36 for one in share[share > 0])
