"""The probe finds what is in the tower's tokens and nothing else, on people whom it never saw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from streamfx.train.face_mllm.probe import probe

PEOPLE, EACH = 300, 4


@pytest.fixture(scope="module")
def told() -> tuple[pd.DataFrame, npt.NDArray[np.float16]]:
    """Pictures in whose tokens the sex and an action unit lie, and no beard; a fact that one picture has; a hidden one."""
    rng = np.random.default_rng(3)
    count = PEOPLE * EACH
    person = np.repeat(np.arange(PEOPLE), EACH)
    sex = np.where(person % 2 == 0, "male", "female")
    unit = rng.choice(["none", "slight", "clear", "strong", "hidden"], count)
    seen = rng.normal(size=(count, 4, 8)).astype(np.float16)
    seen[:, 0, 0] += np.where(sex == "male", 2, -2)
    seen[:, 2, 3] += np.select([np.isin(unit, ["clear", "strong"]), unit == "none"], [3, -3], 0)
    images = pd.DataFrame({
        "person": [f"p{number}" for number in person],
        "split": np.where(person < 200, "train", "test"),
        "fact_sex": sex,
        "fact_au_12": unit,
        "fact_beard": rng.choice(["yes", "no"], count),
        "fact_hat": ["yes"] + ["no"] * (count - 1),
        "fact_light": "hidden",
    })  # fmt: skip
    return images, seen


def test_what_is_there_is_read_and_what_is_not_is_a_guess(
    told: tuple[pd.DataFrame, npt.NDArray[np.float16]],
) -> None:
    found = probe(*told, "test", 1)
    assert set(found) == {"sex", "au_12", "beard"}, "what is rare or hidden is left out"
    assert found["sex"].value > 0.9 and found["au_12"].value > 0.9
    assert found["sex"].low <= found["sex"].value <= found["sex"].high
    assert abs(found["beard"].value - 0.5) < 0.12


def test_the_same_seed_gives_the_same_probe(told: tuple[pd.DataFrame, npt.NDArray[np.float16]]) -> None:
    assert probe(*told, "test", 1) == probe(*told, "test", 1)


def test_without_people_held_out_nothing_is_told(told: tuple[pd.DataFrame, npt.NDArray[np.float16]]) -> None:
    assert probe(*told, "validation", 1) == {}
