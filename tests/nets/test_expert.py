"""The expert beside MMA-DFER: whose answer counts where, what novelty says, and what the expert sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.expert import expert_net, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.models.contract import SAME_LOGITS
from streamfx.nets.expert import EVERY, VIEWS, ExpertMmaDfer, expert_views
from streamfx.nets.face_api import SIZE
from streamfx.nets.mma_dfer import MmaDfer


@pytest.fixture(scope="module")
def net() -> ExpertMmaDfer:
    return expert_net()


def with_border(distance: float, **parts: torch.Tensor) -> ExpertMmaDfer:
    """A net whose expert takes over at `distance`, with other values of some parameters or buffers."""
    net = expert_net()
    state = net.state_dict() | {"border": torch.tensor([distance, 1.0])} | parts
    net.load_state_dict(state)
    return net


@torch.inference_mode()
def test_the_answer_is_logarithms_of_probabilities_and_a_novelty(net: ExpertMmaDfer) -> None:
    logits, novelty = net.answer(*windows(5))
    assert logits.shape == (5, 7) and novelty.shape == (5,)
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(5), atol=1e-3, rtol=0)
    assert ((novelty >= 0) & (novelty <= 1)).all()
    assert torch.equal(net(*windows(5)), logits)


@torch.inference_mode()
def test_a_near_face_is_answered_by_the_net_and_a_far_one_by_the_expert() -> None:
    own, _, expert = expert_net().branches(*windows(3))
    near, far = (with_border(distance)(*windows(3)) for distance in (1e6, -1e6))
    torch.testing.assert_close(near.exp(), F.softmax(own, dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(far.exp(), F.softmax(expert, dim=2).mean(dim=1), atol=1e-5, rtol=0)
    assert (near - far).abs().max() > 0.01


@torch.inference_mode()
def test_at_the_border_both_count_alike() -> None:
    net = expert_net()
    own, distance, expert = net.branches(*windows(1))
    half = with_border(float(distance[0]))(*windows(1))
    both = (F.softmax(own, dim=1) + F.softmax(expert, dim=2).mean(dim=1)) / 2
    torch.testing.assert_close(half.exp(), both, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_each_answer_has_its_own_temperature() -> None:
    own, _, expert = expert_net().branches(*windows(2))
    temperatures = torch.tensor([3.0, 0.5])
    near, far = (with_border(distance, temperatures=temperatures)(*windows(2)) for distance in (1e6, -1e6))
    torch.testing.assert_close(near.exp(), F.softmax(own / 3, dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(far.exp(), F.softmax(expert * 2, dim=2).mean(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("distance", "energy", "expected"),
    [(1e6, -20.0, 0.0), (1e6, 20.0, 0.0), (-1e6, 20.0, 0.0), (-1e6, -20.0, 1.0)],
    ids=["the net knows it", "both know it", "the expert knows it", "nobody knows it"],
)
@torch.inference_mode()
def test_a_face_is_novel_if_neither_knows_it(distance: float, energy: float, expected: float) -> None:
    bias = torch.full((7,), energy)
    weight = torch.zeros(7, 256)
    net = with_border(distance, **{"expert.fc.weight": weight, "expert.fc.bias": bias})
    novelty = net.answer(*windows(2))[1]
    torch.testing.assert_close(novelty, torch.full((2,), expected), atol=1e-3, rtol=0)


@torch.inference_mode()
def test_several_windows_are_answered_as_each_alone(net: ExpertMmaDfer) -> None:
    frames, fbank = windows(4)
    together = net.answer(frames, fbank)
    alone = [net.answer(frames[i : i + 1], fbank[i : i + 1]) for i in range(4)]
    for many, ones in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(many, torch.cat(ones), atol=SAME_LOGITS, rtol=0)


@torch.inference_mode()
def test_uint8_frames_and_float_frames_in_0_to_1_are_answered_alike(net: ExpertMmaDfer) -> None:
    frames, fbank = windows(2)
    for ours, theirs in zip(net.answer(frames, fbank), net.answer(frames.float() / 255, fbank), strict=True):
        torch.testing.assert_close(ours, theirs, atol=SAME_LOGITS, rtol=0)


@torch.inference_mode()
def test_the_net_reads_what_the_expert_sees(net: ExpertMmaDfer) -> None:
    """Its own answer changes with the expert's view even where its encoders are told the same."""
    deaf = expert_net()
    deaf.expert_proj.weight.zero_()
    deaf.expert_proj.bias.zero_()
    own, unread = net.branches(*windows(2))[0], deaf.branches(*windows(2))[0]
    assert (own - unread).abs().max() > 1e-3
    torch.testing.assert_close(unread, MmaDfer.forward(deaf, *windows(2)))


def test_the_expert_sees_each_frame_cut_as_the_views_say() -> None:
    frame = torch.rand(2, 1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    shown = expert_views(frame.expand(-1, 6, -1, -1, -1))
    assert shown.shape == (2, 6, 3, SIZE, SIZE)
    whole, mirrored = VIEWS.index((1.0, 0.0, False)), VIEWS.index((1.0, 0.0, True))
    assert torch.equal(shown[:, whole], frame[:, 0])
    assert torch.equal(shown[:, mirrored], frame[:, 0].flip(-1))
    assert torch.equal(shown[:, 4:], shown[:, :2]), "the views come in turn"
    for number, (share, down, flipped) in enumerate(VIEWS):
        twin = VIEWS.index((share, down, not flipped))
        assert torch.equal(shown[:, number], shown[:, twin].flip(-1))


def test_a_cut_view_is_a_lower_part_of_the_frame() -> None:
    """A ramp from 0 at the top to 1 at the bottom shows where a view begins and ends."""
    ramp = torch.linspace(0, 1, 200).view(1, 1, 1, 200, 1).expand(1, len(VIEWS), 3, 200, 200)
    for shown, (share, down, _) in zip(expert_views(ramp)[0], VIEWS, strict=True):
        top, bottom = float(shown[:, 0].mean()), float(shown[:, -1].mean())
        assert top == pytest.approx((1 - share) / 2 + down, abs=0.01)
        assert bottom - top == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("side", [16, 32, 111, 112, 224])
def test_frames_of_any_side_become_the_experts(side: int) -> None:
    shown = expert_views(torch.full((1, 16 // EVERY, 3, side, side), 7.0))
    assert shown.shape == (1, 8, 3, SIZE, SIZE)
    torch.testing.assert_close(shown, torch.full_like(shown, 7.0))


def test_the_expert_is_not_among_what_is_trained(net: ExpertMmaDfer) -> None:
    plain = MmaDfer(net.config)
    assert set(net.trainable_parameters()) == {
        *plain.trainable_parameters(), "expert_proj.weight", "expert_proj.bias",
    }  # fmt: skip


@pytest.mark.parametrize("parts", [{"classes": 11}, {"classes": 3}, {"modalities": ("sound",)}])
def test_a_net_that_it_cannot_join_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the expert knows the face of 7 expressions"):
        expert_net(**parts)  # type: ignore[arg-type]


def test_a_net_without_sound_can_have_it() -> None:
    logits, novelty = expert_net(modalities=("face",)).answer(*windows(2))
    assert logits.isfinite().all() and novelty.isfinite().all()


def measuring(seed: int) -> tuple[ExpertMmaDfer, torch.Generator]:
    """A net with random means and an arbitrary map."""
    net, generator = expert_net(), torch.Generator().manual_seed(seed)
    for name in ("known_means", "known_map"):
        net.get_buffer(name).normal_(generator=generator)
    return net, generator


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100))
def test_the_distance_is_0_at_what_it_learned_from_and_above_it_elsewhere(seed: int, scale: float) -> None:
    net, generator = measuring(seed)
    means = net.get_buffer("known_means")
    assert net.distance(means).abs().max() < 1e-4
    assert (net.distance(means + scale * torch.randn(means.shape, generator=generator)) > 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 9))
def test_the_distance_of_a_face_does_not_depend_on_its_neighbours(seed: int, n: int) -> None:
    net, generator = measuring(seed)
    seen, order = torch.randn(n, net.config.dim, generator=generator), torch.randperm(n, generator=generator)
    torch.testing.assert_close(net.distance(seen[order]), net.distance(seen)[order], atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_without_a_map_the_distance_is_that_of_the_nearest_mean(seed: int) -> None:
    net, generator = measuring(seed)
    net.get_buffer("known_map").copy_(torch.eye(net.config.dim))
    seen = torch.randn(4, net.config.dim, generator=generator)
    nearest = torch.cdist(seen, net.get_buffer("known_means")).amin(dim=1)
    torch.testing.assert_close(net.distance(seen), nearest, atol=1e-4, rtol=1e-4)
