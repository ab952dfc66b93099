"""Settling: what the net learned from, where the expert takes over, and how sure both may be; nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.expert import expert_net
from helpers.training import synthetic_data, write_set
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.nets.expert import ExpertMmaDfer
from streamfx.train.datasets import open_calibration, open_examples
from streamfx.train.examples import Examples
from streamfx.train.recipe import Data
from streamfx.train.settle import EDGE_QUANTILE, EDGE_WIDTH, REPORT, _best_temperature, _branches, _windows, settle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = tmp_path_factory.mktemp("settle")
    write_set(root / "train", 14)
    write_set(root / "calibration", 10, seed=3)
    tree = synthetic_data(root / "train", None, root / "cache")
    tree["synthetic"]["calibration"] = [str(root / "calibration")]
    return Data.model_validate(tree)


def examples_of(data: Data) -> tuple[Examples, Examples]:
    return open_examples(data)[0], open_calibration(data)


@pytest.fixture(scope="module")
def settled(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExpertMmaDfer, dict[str, Any]]:
    """A net that is far too sure of itself, settled; and the report."""
    net, out = expert_net(), tmp_path_factory.mktemp("report")
    net.our_classifier.weight.data *= 20
    settle(net, *examples_of(data), out)
    return net, json.loads((out / REPORT).read_text())


def too_sure(n: int, answers: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits [n, answers, 7] that are right more often than by chance, and `scale` times too large; and the truth."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 7, (n,), generator=generator)
    logits = torch.randn(n, answers, 7, generator=generator) + 1.5 * F.one_hot(target, 7)[:, None]
    return scale * logits, target


def loss(logits: Tensor, target: Tensor, temperature: float) -> float:
    mean = F.softmax(logits / temperature, dim=-1).mean(dim=1)
    return float(F.nll_loss(torch.log(mean + 1e-9), target))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.3, 10), answers=st.sampled_from([1, 8]))
def test_the_temperature_makes_the_truth_likelier_than_any_neighbour_does(
    seed: int, scale: float, answers: int
) -> None:
    logits, target = too_sure(50, answers, scale, seed)
    best = _best_temperature(logits, target)
    for other in (1.0, best * 1.2, best / 1.2):
        if 0.25 <= other <= 16:
            assert loss(logits, target, best) <= loss(logits, target, other) + 1e-3


def test_answers_that_are_too_sure_are_cooled_and_shy_ones_warmed() -> None:
    assert _best_temperature(*too_sure(200, 1, 8.0, 0)) > 4 > 1 > _best_temperature(*too_sure(200, 1, 0.5, 0))


def test_the_calibration_lowers_the_loss_and_the_error_of_a_net_that_is_too_sure(
    settled: tuple[ExpertMmaDfer, dict[str, Any]],
) -> None:
    net, report = settled
    warm, cool = net.get_buffer("temperatures").tolist()
    assert (report["temperature"], report["expert_temperature"]) == (pytest.approx(warm), pytest.approx(cool))
    assert warm > 1.5 and report["ece_after"] < report["ece_before"]
    assert report["windows"] == 20, "each window with its sound and without"
    assert all(np.isfinite(value) for value in report.values())


def test_the_border_has_most_of_the_calibration_windows_within(
    data: Data, settled: tuple[ExpertMmaDfer, dict[str, Any]]
) -> None:
    net, report = settled
    edge, width = net.get_buffer("border").tolist()
    assert edge == pytest.approx(report["border"]) and width == pytest.approx(EDGE_WIDTH * edge)
    distances = distances_of(net, examples_of(data)[1])
    assert float((distances <= edge + 1e-4).float().mean()) >= EDGE_QUANTILE - 1 / len(distances)
    assert float(distances.max()) >= edge


def distances_of(net: ExpertMmaDfer, examples: Examples) -> Tensor:
    return _branches(net, examples).distance


def test_the_training_windows_lie_around_the_means_and_are_spread_evenly(
    data: Data, settled: tuple[ExpertMmaDfer, dict[str, Any]]
) -> None:
    """In the net's own coordinates the mean squared deviation is at most 1 for each axis, as some spread is mixed in."""
    net, (learned, _) = settled[0], examples_of(data)
    with torch.inference_mode():
        seen = torch.cat([net.encode(frames, sound)[0].mean(dim=1) for frames, sound, _ in _windows(net, learned)])
    for number, mean in enumerate(net.get_buffer("known_means")):
        torch.testing.assert_close(seen[learned.targets == number].mean(dim=0), mean, atol=1e-4, rtol=1e-4)
    apart = (seen - net.get_buffer("known_means")[learned.targets]) @ net.get_buffer("known_map")
    assert float(apart.square().mean(dim=0).max()) < 1 / (1 - 0.1) + 1e-2


def test_nothing_is_trained(data: Data, tmp_path: Path) -> None:
    net = expert_net()
    before = {name: value.clone() for name, value in net.named_parameters()}
    settle(net, *examples_of(data), tmp_path)
    assert all(torch.equal(before[name], value) for name, value in net.named_parameters())


def test_settling_twice_gives_the_same(data: Data, tmp_path: Path) -> None:
    nets = []
    for _ in range(2):
        net = expert_net()
        settle(net, *examples_of(data), tmp_path)
        nets.append(dict(net.named_buffers()))
    assert all(torch.equal(nets[0][name], value) for name, value in nets[1].items())


def test_a_training_set_without_some_expression_is_refused(data: Data, tmp_path: Path) -> None:
    write_set(tmp_path / "five", 5, seed=9)
    five, _ = open_examples(Data.model_validate(synthetic_data(tmp_path / "five", None, tmp_path / "cache")))
    with pytest.raises(ConfigError, match=r"data\.synthetic\.train: .* every expression, got none of classes \[5, 6\]"):
        settle(expert_net(), five, open_calibration(data), tmp_path)


@pytest.mark.parametrize("role", ["train", "held_out"])
def test_people_of_another_set_are_refused(data: Data, role: str) -> None:
    assert data.synthetic is not None
    shared = data.synthetic.model_copy(update={role: data.synthetic.calibration})
    with pytest.raises(ConfigError, match=r"data\.synthetic\.calibration: expected people who are in no other set"):
        open_calibration(data.model_copy(update={"synthetic": shared}))


def test_without_a_set_there_is_nothing_to_calibrate_on(data: Data) -> None:
    assert data.synthetic is not None
    none = data.synthetic.model_copy(update={"calibration": ()})
    with pytest.raises(ConfigError, match=r"data\.synthetic\.calibration: expected at least one set, got none"):
        open_calibration(data.model_copy(update={"synthetic": none}))
