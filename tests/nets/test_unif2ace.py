"""UniF2ace: who sees whom, what experts do, that drawing fills every place, and the paper's size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from streamfx.nets.unif2ace import DRAW, PAPER, READ, Sequences, UniF2ace, UniF2aceSizes, draw, sight

SIZES = UniF2aceSizes(
    words=30, tokens=9, codes=12, places=10, dim=24, depth=2, heads=2, shared=16, routed=3, routed_width=8, every=1,
    resampled=8, semantic=5, face=4,
)  # fmt: skip


def net_of(sizes: UniF2aceSizes = SIZES) -> UniF2ace:
    net = UniF2ace(sizes).eval()
    net.initialise(1)
    return net


def batch_of(task: list[int], length: int = 6, codes: Tensor | None = None) -> Sequences:
    generator = torch.Generator().manual_seed(3)
    n = len(task)
    written = torch.ones(n, length, dtype=torch.bool)
    written[0, 4:] = False
    return Sequences(
        torch.randint(12, (n, 9), generator=generator) if codes is None else codes,
        torch.randint(30, (n, length), generator=generator), written, torch.tensor(task),
        torch.rand(n, generator=generator), torch.randn(n, 7, 9, generator=generator),
    )  # fmt: skip


def test_words_are_causal_and_codes_see_both_ways() -> None:
    mask, real = sight(batch_of([DRAW, READ]), tokens=9)
    drawing, reading = mask[0, 0], mask[1, 0]
    assert drawing[:9, :9].all() and reading[:9, :9].all()
    assert drawing[:9, 9:13].all() and not drawing[:9, 13:].any(), "codes see the words that are written"
    assert not drawing[9:, :9].any(), "a caption does not see what is drawn by it"
    assert reading[9:, :9].all() and not reading[:9, 9:].any()
    assert torch.equal(reading[9:, 9:], torch.ones(6, 6, dtype=torch.bool).tril())
    assert real[0].tolist() == [True] * 13 + [False] * 2


@pytest.mark.parametrize(("task", "sizes"), [(DRAW, replace(SIZES, sequence=False)), (READ, SIZES)])
def test_a_later_word_changes_no_earlier_answer(task: int, sizes: UniF2aceSizes) -> None:
    # To draw, a sequence-level router reads the whole sequence, so there the law holds for what it does not choose.
    net, batch = net_of(sizes), batch_of([task, task])
    other = replace(batch, words=batch.words.clone())
    other.words[:, 3] = (other.words[:, 3] + 1) % 30
    _, before, _ = net(batch)
    _, after, _ = net(other)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_what_fills_up_and_who_else_is_in_the_batch_change_nothing() -> None:
    net, batch = net_of(), batch_of([DRAW, READ, DRAW, READ])
    codes, words, _ = net(batch)
    filled = replace(batch, words=batch.words.clone())
    filled.words[0, 4:] = 7
    again, _, _ = net(filled)
    torch.testing.assert_close(again, codes)
    fields = ("codes", "words", "written", "task", "share", "seen")
    alone = Sequences(*(getattr(batch, name)[1:2] for name in fields))
    torch.testing.assert_close(net(alone)[1][0], words[1], rtol=1e-4, atol=1e-5)


def test_each_group_has_routers_of_its_own_that_only_its_task_trains() -> None:
    net = net_of()
    said, _, balance = net(batch_of([DRAW, DRAW]))
    (said.square().mean() + balance.loss).backward()
    for block in net.blocks:
        routed, sequence = block.get_submodule("routed"), block.get_submodule("sequence")
        assert routed.get_submodule(str(DRAW)).get_parameter("router.weight").grad is not None
        assert routed.get_submodule(str(READ)).get_parameter("router.weight").grad is None
        assert sequence.get_submodule(str(READ)).get_parameter("router.weight").grad is None
    assert set(balance.loads) == {f"block-{n}-{level}-{DRAW}" for n in (0, 1) for level in ("tokens", "sequences")}
    assert all(float(load.sum()) == pytest.approx(1) for load in balance.loads.values())


def test_balance_losses_are_one_where_experts_are_used_alike() -> None:
    net = net_of()
    for name, value in net.named_parameters():
        if "router" in name:
            torch.nn.init.zeros_(value)
    _, _, balance = net(batch_of([DRAW, READ]))
    assert balance.count == 8 and balance.loss.item() == pytest.approx(8, rel=1e-5)


def test_what_encoders_see_is_looked_at_where_a_picture_is_read_and_never_where_one_is_drawn() -> None:
    net, batch = net_of(), batch_of([DRAW, READ])
    # Both reading experts are made the chosen ones.
    for block in net.blocks:
        router = block.get_submodule(f"sequence.{READ}").get_parameter("router.weight")
        torch.nn.init.normal_(router)
    codes, words, _ = net(batch)
    other = replace(batch, seen=batch.seen + 1)
    codes_other, words_other, _ = net(other)
    torch.testing.assert_close(codes[0], codes_other[0])
    assert not torch.allclose(words[1], words_other[1])


@pytest.mark.parametrize("sizes", [replace(SIZES, routed=0), replace(SIZES, sequence=False), replace(SIZES, every=2)])
def test_without_some_experts_it_is_still_a_net(sizes: UniF2aceSizes) -> None:
    codes, words, balance = net_of(sizes)(batch_of([DRAW, READ]))
    assert codes.shape == (2, 9, 12) and words.shape == (2, 6, 30)
    assert (
        balance.count
        == {"routed": 4, "sequence": 4, "every": 4}[
            "routed" if not sizes.routed else "sequence" if not sizes.sequence else "every"
        ]
    )


@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_drawing_fills_every_place_and_equal_seeds_draw_equal_codes(guidance: float) -> None:
    net, batch = net_of(), batch_of([DRAW, DRAW])

    def drawn(seed: int) -> Tensor:
        return draw(net, batch.words, batch.written, 2, 4, guidance, 1.0, torch.Generator().manual_seed(seed))

    codes = drawn(1)
    assert codes.shape == (2, 9) and codes.min() >= 0 and codes.max() < 12
    assert torch.equal(codes, drawn(1)) and not torch.equal(codes, drawn(2))


def test_the_free_head_begins_nearly_normalised() -> None:
    net = UniF2ace(SIZES).eval()
    net.initialise(1, "free")
    codes, _, _ = net(batch_of([DRAW, DRAW]))
    sums = codes.exp().sum(dim=2)
    assert float(sums.min()) > 0.5 and float(sums.max()) < 2


def test_the_papers_size_has_its_parameters() -> None:
    with torch.device("meta"):
        net = UniF2ace(PAPER)
        seen = torch.empty(1, 8, PAPER.dim)
        assert net.code_head(seen).shape == (1, 8, 8_192) and net.word_head(seen).shape == (1, 8, 50_295)
        sequence = net.blocks[0].get_submodule(f"sequence.{READ}")
        assert sequence.get_submodule("semantic")(seen, torch.empty(1, 16, 1_024)).shape == seen.shape
    count = sum(value.numel() for value in net.parameters())
    assert 1.75e9 < count < 1.85e9
    assert len(net.blocks) == 24 and all(block.get_submodule("routed") is not None for block in net.blocks)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"dim": 25}, "dim: expected a multiple"),
        ({"best": 4}, "best: expected at most"),
        ({"depth": 0}, "depth: expected"),
    ],
)
def test_sizes_that_make_no_net_are_refused(wrong: dict[str, int], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        replace(SIZES, **wrong)  # type: ignore[arg-type]
