"""The expression net of npm's @vladmandic/face-api (MIT) in plain torch: a small convolutional net, trained by others on
real faces.

It was not trained on synthetic faces, so it can judge whether a drawn expression reads as the intended one, and teach
or join a net that has seen drawings only. The package is written in JavaScript; only its weights are used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.mma_dfer import LABELS_7

SIZE = 112
"""Side of the square faces that the net takes, pixels."""
FEATURES = 256
"""Width of the net's last layer but one."""
MEAN_RGB = (122.782, 117.001, 104.298)
"""Mean pixel, subtracted before the division by 255."""
_WIDTHS = (3, 32, 64, 128, FEATURES)


class _Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 one with a bias, padded as TensorFlow's `same` does."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(_pad_same(x, self.stride)))  # type: ignore[no-any-return]


class _Plain(nn.Module):
    """A 3x3 convolution with a bias and stride 2, padded as TensorFlow's `same` does."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.full = nn.Conv2d(channels, out, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.full(_pad_same(x, 2))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Four convolutions; the first halves the sides, and each later one reads the sum of all outputs before it."""

    def __init__(self, channels: int, out: int, first: bool):
        super().__init__()
        self.conv0 = _Plain(channels, out) if first else _Separable(channels, out, stride=2)
        self.conv1, self.conv2, self.conv3 = (_Separable(out, out, stride=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        start = F.relu(self.conv0(x))
        second = self.conv1(start)
        third = self.conv2(F.relu(start + second))
        fourth = self.conv3(F.relu(start + second + third))
        return F.relu(start + second + third + fourth)


class FaceApi(nn.Module):
    """The net, which is never trained here. Its parameters are torch's defaults until weights are loaded.

    `models/outside.py` has face-api's own weights.
    """

    def __init__(self) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"dense{i}", _Block(_WIDTHS[i], _WIDTHS[i + 1], first=i == 0))
        self.fc = nn.Linear(FEATURES, len(LABELS_7))
        self.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """RGB faces uint8 or float [N, 112, 112, 3], 0..255 -> features float32 [N, 256], logits float32 [N, 7].

        The face should fill the picture, as in the boxes of face-api's own detector. Logits are in the order of
        LABELS_7; their softmax is face-api's answer.
        """
        if faces.ndim != 4 or tuple(faces.shape[1:]) != (SIZE, SIZE, 3):
            raise ValueError(f"faces: expected [N, {SIZE}, {SIZE}, 3], got {list(faces.shape)}")
        return self.read(faces.permute(0, 3, 1, 2))

    def read(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, for faces [N, 3, 112, 112]."""
        weight = self.fc.weight
        mean = torch.tensor(MEAN_RGB, dtype=weight.dtype, device=weight.device).view(1, 3, 1, 1)
        x = (faces.to(mean) - mean) / 255
        for i in range(4):
            x = self.get_submodule(f"dense{i}")(x)
        features = x.mean(dim=(2, 3))
        return features, self.fc(features)


def _pad_same(x: Tensor, stride: int) -> Tensor:
    """Pad even sides for a 3x3 kernel: one row and column after, and with stride 1 also before."""
    return F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
