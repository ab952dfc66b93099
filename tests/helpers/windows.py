"""Model inputs for tests: one window's tensors as the contract requires them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def window_tensors(seed: int, side: int = 112) -> dict[str, npt.NDArray[np.generic]]:
    """`frames` uint8 [16, 3, side, side] and `fbank` float32 [1, 512, 128], different for each seed."""
    random = np.random.default_rng(seed)
    return {
        "frames": random.integers(0, 256, (16, 3, side, side), dtype=np.uint8),
        "fbank": random.standard_normal((1, 512, 128)).astype(np.float32) * 0.5,
    }
