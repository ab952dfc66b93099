"""The small parts of the ViT encoder."""

from __future__ import annotations

import torch

from streamfx.nets.vit import unchanged


def test_the_unchanged_matrix_is_the_identity_and_needs_no_memory_on_the_meta_device() -> None:
    assert torch.equal(unchanged(5), torch.eye(5))
    with torch.device("meta"):
        assert unchanged(5).is_meta and unchanged(5).shape == (5, 5)
