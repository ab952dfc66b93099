"""Face-MLLM reads a picture once for all questions, and no question or answer sees another."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamfx.nets.face_mllm import FaceMllm, FaceMllmSizes, Tree, together
from streamfx.nets.llama import LlamaSizes
from streamfx.nets.vit import EncoderSizes

LLM = LlamaSizes(vocabulary=40, dim=16, depth=2, heads=4, kv_heads=2, hidden=24, rope_base=10_000.0)
ENCODERS = (EncoderSizes(32, 8, 12, 2, 2), EncoderSizes(56, 14, 8, 1, 2))
SIZES = FaceMllmSizes(ENCODERS, 4, LLM, 2)
HEAD, TAIL = [1, 5], [6]
texts = st.lists(st.integers(2, 39), min_size=1, max_size=4)


def tiny(seed: int = 0, sizes: FaceMllmSizes = SIZES) -> FaceMllm:
    torch.manual_seed(seed)
    net = FaceMllm(sizes).eval()
    for name, parameter in net.named_parameters():
        if "lora_b" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    net.match_words()
    return net


def seen(net: FaceMllm, pictures: int = 1) -> Tensor:
    torch.manual_seed(5)
    return net.tower(torch.rand(pictures, 3, 56, 56))


@torch.no_grad()
def alone(net: FaceMllm, picture: Tensor, question: list[int], answer: list[int]) -> float:
    """The log-probability of an answer where the sequence holds nothing else: token after token, causally."""
    tree = Tree(HEAD, 4, TAIL)
    tree.add(0, [*question, *answer])
    pack = tree.pack()
    assert bool((pack.mask == torch.ones_like(pack.mask).tril()).all())
    hidden, _ = net.read(picture, pack)
    each = net.llm.logits(hidden[0]).log_softmax(dim=-1)
    end = pack.ids.shape[1]
    return float(sum(each[at - 1, pack.ids[0, at]] for at in range(end - len(answer), end)))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=4))
@torch.no_grad()
def test_each_answer_is_as_likely_as_if_nothing_else_were_asked(asked: list[tuple[list[int], list[list[int]]]]) -> None:
    net = tiny()
    picture = seen(net)
    tree, branches = Tree(HEAD, 4, TAIL), []
    for question, answers in asked:
        below = tree.add(0, question)
        branches += [tree.add(below, answer) for answer in answers]
    found = net.likelihoods(picture, tree.pack(), branches)[0]
    expected = [alone(net, picture, q, a) for q, answers in asked for a in answers]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_likelihoods_of_all_answers_of_one_token_add_up_to_one() -> None:
    net = tiny()
    tree = Tree(HEAD, 4, TAIL)
    question = tree.add(0, [7, 8])
    branches = [tree.add(question, [token]) for token in range(40)]
    found = net.likelihoods(seen(net, 3), tree.pack(), branches)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(3), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.tuples(texts, texts), min_size=1, max_size=3), min_size=1, max_size=3))
@torch.no_grad()
def test_trees_of_unlike_size_are_learned_from_as_if_each_were_alone(
    trees: list[list[tuple[list[int], list[int]]]],
) -> None:
    net = tiny()
    pictures, packs, answers = seen(net, len(trees)), [], []
    for asked in trees:
        tree = Tree(HEAD, 4, TAIL)
        answers.append([tree.add(tree.add(0, question), answer) for question, answer in asked])
        packs.append(tree.pack())
    whole = together(packs)
    found = net.losses(pictures, whole, whole.which(answers))
    expected = [
        -alone(net, pictures[i : i + 1], question, answer)
        for i, asked in enumerate(trees)
        for question, answer in asked
    ]
    sizes = [len(answer) for asked in trees for _, answer in asked]
    torch.testing.assert_close(
        torch.stack([part.sum() for part in found.split(sizes)]), torch.tensor(expected), rtol=1e-3, atol=1e-4
    )


@torch.no_grad()
def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    net = tiny()
    tree = Tree(HEAD, 4, TAIL)
    branches = [tree.add(tree.add(0, [9, 10]), [token]) for token in (3, 4)]
    pack, pictures = tree.pack(), seen(net, 3)
    at_once = net.likelihoods(pictures, pack, branches)
    each = torch.cat([net.likelihoods(pictures[i : i + 1], pack, branches) for i in range(3)])
    torch.testing.assert_close(at_once, each, rtol=1e-4, atol=1e-5)
    assert len(set(at_once[:, 0].tolist())) == 3


@torch.no_grad()
def test_a_text_is_written_as_the_likeliest_token_after_token() -> None:
    net = tiny()
    tree = Tree(HEAD, 4, TAIL)
    tree.add(0, [9, 10])
    picture = seen(net)
    written = net.write(picture, tree.pack(), stop=2, longest=6)
    text = [9, 10]
    for token in written:
        best = max(range(40), key=lambda candidate: alone(net, picture, text, [candidate]))
        assert best == token
        text.append(token)
    assert len(written) == 6 or max(range(40), key=lambda c: alone(net, picture, text, [c])) == 2


def test_only_the_projector_and_the_adapters_learn() -> None:
    net = tiny()
    tree = Tree(HEAD, 4, TAIL)
    branch = tree.add(tree.add(0, [9, 10]), [3])
    net.likelihoods(seen(net), tree.pack(), [branch]).sum().backward()
    moved = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert moved | {"projector.scale"} == set(net.learned())
    assert all(parameter.grad is None for parameter in net.tower.parameters())


def test_the_projector_gives_tokens_as_large_as_words() -> None:
    net = tiny()
    made = net.projector(torch.randn(2, 4, SIZES.width) * 50)
    size = net.llm.embed_tokens.weight.square().mean().sqrt()
    torch.testing.assert_close(made.square().mean(dim=-1).sqrt(), size.expand(2, 4), rtol=1e-3, atol=1e-5)


def test_the_tower_joins_what_each_encoder_sees_of_the_same_place() -> None:
    net = tiny()
    faces = torch.rand(1, 3, 56, 56)
    both = net.tower(faces)
    assert both.shape == (1, 4, 12 + 8)
    moved = faces.clone()
    moved[:, :, :14, :14] = 0  # well within the first of four places
    with torch.no_grad():
        for block in itertools.chain(net.tower.encoders[0].blocks, net.tower.encoders[1].blocks):
            block.attn.proj.weight.zero_()  # so that no place sees another
    changed = (net.tower(faces) - net.tower(moved)).abs().sum(dim=2)[0] > 1e-4
    assert changed.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "wrong", [{"tokens": 15}, {"encoders": ()}, {"rank": -1}, {"encoders": ({"image_size": 30, "patch": 16},)}]
)
def test_sizes_that_fit_no_net_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        FaceMllmSizes(**{**vars(SIZES), **wrong})  # type: ignore[arg-type]


def test_a_branch_needs_a_text_and_a_parent() -> None:
    tree = Tree(HEAD, 4, TAIL)
    with pytest.raises(ValueError, match="0 tokens below 0"):
        tree.add(0, [])
    with pytest.raises(ValueError, match="below one of 1 branches"):
        tree.add(1, [3])
