"""A tokenizer of faces: what its codes are, how a codebook learns, and which sizes are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.nets.face_tokens import Codebook, FaceTokens, FaceTokensSizes, Signs

SMALL = {"image_size": 32, "grid": 4, "codes": 16, "code_dim": 4, "width": 8}


@pytest.mark.parametrize("quantiser", ["vq", "lfq"])
def test_a_face_becomes_a_grid_of_codes_and_a_face_again(quantiser: str) -> None:
    net = FaceTokens(FaceTokensSizes(**SMALL, quantiser=quantiser)).eval()  # type: ignore[arg-type]
    faces = torch.rand(3, 3, 32, 32)
    codes = net.encode(faces)
    assert codes.shape == (3, 16) and codes.dtype == torch.int64 and codes.min() >= 0 and codes.max() < 16
    drawn = net.decode(codes)
    assert drawn.shape == faces.shape and drawn.min() >= 0 and drawn.max() <= 1


@pytest.mark.parametrize("quantiser", [Codebook(16, 4), Signs(16)])
def test_vectors_of_codes_are_given_these_codes_and_gradients_pass_through(quantiser: Codebook | Signs) -> None:
    codes = torch.randint(16, (2, 5, 5))
    vectors = (3 * quantiser.look_up(codes)).requires_grad_()
    found = quantiser(vectors)
    torch.testing.assert_close(found.codes, codes)
    torch.testing.assert_close(found.vectors, quantiser.look_up(codes))
    found.vectors.sum().backward()
    assert vectors.grad is not None and vectors.grad.abs().sum() > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 10))
def test_every_code_of_signs_has_its_own_vector(bits: int) -> None:
    quantiser = Signs(2**bits)
    every = torch.arange(2**bits).view(-1, 1, 1)
    torch.testing.assert_close(quantiser(quantiser.look_up(every)).codes, every)


def test_a_codebook_moves_to_what_it_is_given_and_dead_codes_begin_again() -> None:
    torch.manual_seed(1)
    book = Codebook(8, 4)
    directions = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
    for _ in range(400):
        x = directions[torch.randint(8, (64,))].t().reshape(1, 4, 8, 8) + 0.01 * torch.randn(1, 4, 8, 8)
        book.learn(x, book(x).codes)
    nearest = (directions @ book.get_buffer("vectors").T).amax(dim=1)
    assert float(nearest.min()) > 0.99, "each direction that occurs has a code"


def test_measuring_does_not_move_the_codes() -> None:
    net = FaceTokens(FaceTokensSizes(**SMALL)).eval()  # type: ignore[arg-type]
    before = net.quantiser.get_buffer("vectors").clone()
    net.decode(net.encode(torch.rand(2, 3, 32, 32)))
    torch.testing.assert_close(net.quantiser.get_buffer("vectors"), before)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"image_size": 60}, "image_size: expected grid times 4"),
        ({"image_size": 8}, "image_size: expected grid times 4"),
        ({"width": 12}, "width: expected a multiple of 8"),
        ({"codes": 0}, "codes: expected a whole number"),
        ({"codes": 500, "quantiser": "lfq"}, "lfq needs a power of two"),
        ({"quantiser": "none"}, "quantiser: expected vq or lfq"),
    ],
)
def test_sizes_that_make_no_net_are_refused(wrong: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        FaceTokensSizes(**(SMALL | wrong))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("quantiser", ["vq", "lfq"])
def test_copies_come_to_differ_as_the_pictures_do(quantiser: str) -> None:
    """At first all copies are the mean picture; the error must fall far below the pictures' variance."""
    torch.manual_seed(1)
    coarse = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    faces = torch.nn.functional.interpolate(coarse, 32, mode="bilinear")
    sizes = FaceTokensSizes(image_size=32, grid=4, codes=64, code_dim=8, width=16, quantiser=quantiser)  # type: ignore[arg-type]
    net = FaceTokens(sizes)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, betas=(0.9, 0.95))
    for _ in range(250):
        vectors = net.read(faces)
        found = net.quantiser(vectors)
        net.quantiser.learn(vectors, found.codes)
        loss = (net.draw(found.vectors) - faces).abs().mean() + 0.25 * found.loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    error = (net.decode(net.encode(faces)) - faces).square().mean()
    assert error < 0.2 * (faces - faces.mean(dim=0)).square().mean()
