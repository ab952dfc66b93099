"""LNet: response maps, windows by their score, and the peak that is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamfx.nets.lnet import LNet, LNets, LNetSizes, best_window, density_peak, halved
from streamfx.nets.lnet_anet import initialise


@pytest.mark.parametrize(("top", "left", "side"), [(2, 3, 5), (8, 10, 7), (0, 0, 9), (12, 4, 8)])
def test_the_window_is_the_square_that_responds(top: int, left: int, side: int) -> None:
    response = torch.full((20, 20), 0.3)
    response[top : top + side, left : left + side] += 1.0
    found = best_window(response)
    assert found is not None
    assert abs(found.x - (left + side / 2)) <= 1 and abs(found.y - (top + side / 2)) <= 1
    assert 0.6 <= found.side / side <= 1.5


def test_a_score_is_the_summed_response_over_the_side() -> None:
    response = torch.zeros(20, 20)
    response[4:9, 4:9] = 2.0
    found = best_window(response)
    assert found is not None
    inside = min(found.side, 5) ** 2
    assert found.score == pytest.approx(2.0 * inside / found.side, rel=0.25)


def test_a_flat_map_has_no_window() -> None:
    assert best_window(torch.full((12, 12), 0.7)) is None


def test_of_several_peaks_the_densest_is_kept() -> None:
    density = torch.zeros(15, 15)
    density[3, 3] = 1.0
    density[10:13, 9:12] = 0.8
    assert density_peak(density) == (11, 10)


@settings(deadline=None)
@given(arrays(np.float32, (7, 9), elements=st.integers(0, 50).map(float)))
def test_the_peak_is_the_one_that_the_paper_s_rule_keeps(density: np.ndarray) -> None:  # type: ignore[type-arg]
    """sqrt(rho^2 + sigma^2) of each place, spelled out: no place has more than the one that is kept."""
    peak = density_peak(torch.from_numpy(density))
    around = np.pad(density, 1, constant_values=np.nan)
    places = [(row, column) for row in range(7) for column in range(9)]
    rho = {(r, c): float(np.nanmean(around[r : r + 3, c : c + 3])) for r, c in places}
    most, furthest = max(rho.values()) or 1.0, math.dist((0, 0), (6, 8))

    def rank(place: tuple[int, int]) -> float:
        denser = [math.dist(place, other) for other in places if rho[other] > rho[place] + 1e-4]
        return math.hypot(rho[place] / most, min(denser, default=furthest) / furthest)

    assert rank(peak) >= max(map(rank, places)) - 1e-4


def test_halving_is_max_pooling() -> None:
    maps = torch.rand(2, 3, 9, 12)
    assert torch.equal(halved(maps), torch.nn.functional.max_pool2d(maps, 2))


@torch.no_grad()
def test_a_response_map_has_a_place_for_every_eight_pixels_and_no_negative_values() -> None:
    net = LNet()
    initialise(net, 0)
    response = net.response(torch.rand(1, 3, 160, 96))
    assert response.shape == (1, 20, 12) and float(response.min()) >= 0


def test_the_face_lies_in_the_picture_s_own_pixels_and_is_sure_by_its_thresholds() -> None:
    nets = LNets(LNetSizes())
    initialise(nets, 1)
    picture = torch.randint(0, 256, (120, 200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = nets.find(picture)
    assert found is not None and found[1] == 1.0  # thresholds of 0 believe anything
    face = found[0]
    assert 0 < face.x < 200 and 0 < face.y < 120 and 0 < face.side <= 250
    nets.thresholds.copy_(torch.tensor([1e-9, face.score]))
    again = nets.find(picture)
    assert again is not None and again[1] == pytest.approx(0.5)


def test_the_face_lies_to_the_windows_as_the_frame_says() -> None:
    nets = LNets(LNetSizes())
    initialise(nets, 1)
    picture = torch.randint(0, 256, (120, 200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = nets.find(picture)
    nets.frame.copy_(torch.tensor([0.5, 0.25]))
    after = nets.find(picture)
    assert before is not None and after is not None
    plain, face = before[0], after[0]
    assert (face.x, face.side) == (plain.x, pytest.approx(plain.side / 2)), (
        "of LNet_o's window, which the plain frame shows"
    )
    assert face.y == pytest.approx(plain.y + face.side / 4)


@pytest.mark.parametrize("wrong", [{"whole": 100}, {"part": 16}, {"part": 96.0}])
def test_sizes_are_multiples_of_the_stride(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        LNetSizes(**wrong)
