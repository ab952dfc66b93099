"""The identity probes find a person where a feature shows one, and guess where it shows none."""

from __future__ import annotations

import numpy as np

from streamfx.train.leak import identity_leak


def frames(shown: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{number}" for number in range(10)], 12)
    clips = np.array([f"{person}-c{number % 12 // 4}" for number, person in enumerate(people)])
    features = rng.standard_normal((120, 16))
    if shown:
        features += 4 * rng.standard_normal((10, 16))[np.arange(120) // 12]
    return features.astype(np.float32), people, clips


def test_identity_that_is_there_is_found_and_what_is_not_is_guessed() -> None:
    there, absent = identity_leak(*frames(True)), identity_leak(*frames(False))
    assert there is not None and absent is not None
    assert there.people == 10 and min(there.linear.value, there.two_layers.value) > 0.9
    assert max(absent.linear.value, absent.two_layers.value) < 0.35


def test_people_with_one_clip_cannot_be_probed() -> None:
    features, people, _ = frames(True)
    assert identity_leak(features, people, people) is None
