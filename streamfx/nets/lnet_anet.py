"""LNet+ANet (Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015, arXiv 1411.7766): facial attributes.

`nets/lnet.py` finds the face. ANet looks at many overlapping patches of it: two convolutional layers whose filters are
shared by all places, two whose filters belong to cells of the patch, and one vector for each patch. A linear SVM for
each attribute scores every vector, and the mean over the patches is the answer. The paper's widths were in a figure that
is lost; these are our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.lnet import LNets, LNetSizes, halved

SHARED_STRIDE = 4
"""Pixels between two places of the map of the globally shared layers."""
_FIRST, _SECOND, _PLACES = 5, 3, 2
"""Kernels of the globally shared layers, and side in cells of what a filter of the last convolutional layer sees."""


@dataclass(frozen=True)
class ANetSizes:
    """Sizes of ANet: side of a patch and pixels from one to the next, cells along a patch's side, and widths.

    `patch / 4 - 2`, the side of a patch's map, must be a multiple of `cells`; `step` must be one of 4.
    """

    patch: int = 56
    step: int = 8
    cells: int = 3
    first: int = 24
    second: int = 48
    third: int = 48
    fourth: int = 64
    features: int = 128

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a whole number, at least 1, got {getattr(self, name)!r}")
        if self.cells < _PLACES:
            raise ValueError(f"cells: expected at least {_PLACES}, got {self.cells}")
        if self.step % SHARED_STRIDE:
            raise ValueError(f"step: expected a multiple of {SHARED_STRIDE}, got {self.step}")
        if self.patch % SHARED_STRIDE or self.grid < self.cells or self.grid % self.cells:
            raise ValueError(f"patch: expected {SHARED_STRIDE} x (n x {self.cells} + 2) pixels, got {self.patch}")

    @property
    def grid(self) -> int:
        """Side of a patch's map after the globally shared layers."""
        return self.patch // SHARED_STRIDE - 2

    @property
    def places(self) -> int:
        """Places of the last convolutional layer along a side, each with filters of its own."""
        return self.cells - _PLACES + 1


class ANet(nn.Module):
    """Pictures of a face -> one vector for each patch.

    Nothing is padded, and no place looks beyond its patch. So a patch's vector depends on that patch alone, and both
    ways to compute it agree: `patch_by_patch` cuts each patch out and runs the net on it, `forward` runs it once for all.
    """

    def __init__(self, sizes: ANetSizes):
        super().__init__()
        self.sizes = sizes
        tile = sizes.grid // sizes.cells
        self.c1 = nn.Conv2d(3, sizes.first, _FIRST)
        self.c2 = nn.Conv2d(sizes.first, sizes.second, _SECOND)
        self.c3 = nn.ModuleList(nn.Conv2d(sizes.second, sizes.third, tile) for _ in range(sizes.cells**2))
        self.c4 = nn.ModuleList(nn.Conv2d(sizes.third, sizes.fourth, _PLACES) for _ in range(sizes.places**2))
        self.fc = nn.Linear(sizes.fourth * sizes.places**2, sizes.features)

    def _shared(self, pictures: Tensor) -> Tensor:
        # Halving before the ReLU gives the same, with a quarter of the work for the ReLU.
        return F.relu(halved(self.c2(F.relu(halved(self.c1(pictures - 0.5))))))

    def patches(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches in a picture; ValueError for one that is smaller than a patch."""
        if min(height, width) < self.sizes.patch:
            raise ValueError(f"pictures: expected at least {self.sizes.patch} pixels a side, got {height} x {width}")
        return (height - self.sizes.patch) // self.sizes.step + 1, (width - self.sizes.patch) // self.sizes.step + 1

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures float [N, 3, H, W] in 0..1 -> vectors [N, patches, features], row by row, by the interweaved pass.

        The globally shared layers run once over the whole picture. Each filter of a cell runs over the whole map, where
        some patch has that cell. What a filter of the next layer sees of four cells are then four channels' maps laid
        over each other, so that it acts on them like a globally shared one; and so does the last layer. ValueError for
        pictures smaller than a patch.
        """
        sizes = self.sizes
        rows, columns = self.patches(*pictures.shape[2:])
        shared, tile, hop = self._shared(pictures), sizes.grid // sizes.cells, sizes.step // SHARED_STRIDE
        cells = []
        for number, layer in enumerate(self.c3):
            top, left = (tile * at for at in divmod(number, sizes.cells))
            seen = shared[:, :, top : top + tile + hop * (rows - 1), left : left + tile + hop * (columns - 1)]
            assert isinstance(layer, nn.Conv2d)
            cells.append(F.relu(F.conv2d(seen, layer.weight, layer.bias, stride=hop)))
        places = []
        for number, layer in enumerate(self.c4):
            row, column = divmod(number, sizes.places)
            below = [cells[(row + y) * sizes.cells + column + x] for y in range(_PLACES) for x in range(_PLACES)]
            assert isinstance(layer, nn.Conv2d)
            weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
            places.append(F.relu(_pointwise(torch.cat(below, dim=1), weight, layer.bias)))
        vectors = F.relu(_pointwise(torch.cat(places, dim=1), self.fc.weight, self.fc.bias))
        return vectors.flatten(2).transpose(1, 2)

    def patch_by_patch(self, pictures: Tensor) -> Tensor:
        """The same vectors as `forward`, each from its own patch, cut out: what the fast pass is measured against."""
        sizes = self.sizes
        rows, columns = self.patches(*pictures.shape[2:])
        cut = pictures.unfold(2, sizes.patch, sizes.step).unfold(3, sizes.patch, sizes.step)
        patches = cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, sizes.patch, sizes.patch)
        shared, tile = self._shared(patches), sizes.grid // sizes.cells
        third = shared.new_empty(len(patches), sizes.third, sizes.cells, sizes.cells)
        for number, layer in enumerate(self.c3):
            row, column = divmod(number, sizes.cells)
            part = shared[:, :, row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            third[:, :, row, column] = F.relu(layer(part))[:, :, 0, 0]
        fourth = []
        for number, layer in enumerate(self.c4):
            row, column = divmod(number, sizes.places)
            fourth.append(F.relu(layer(third[:, :, row : row + _PLACES, column : column + _PLACES])).flatten(1))
        vectors = F.relu(self.fc(torch.cat(fourth, dim=1)))
        return vectors.view(len(pictures), rows * columns, sizes.features)


def _pointwise(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(maps, weight[:, :, None, None], bias)


class LNetANet(nn.Module):
    """The LNets, ANet, and the SVMs: `svm` scores a patch's vector, and `scale` and `shift` make logits of the scores."""

    scale: Tensor
    shift: Tensor

    def __init__(self, lnet: LNetSizes, anet: ANetSizes, attributes: int):
        super().__init__()
        self.lnets, self.anet = LNets(lnet), ANet(anet)
        self.svm = nn.Linear(anet.features, attributes)
        self.register_buffer("scale", torch.ones(attributes))
        self.register_buffer("shift", torch.zeros(attributes))

    def forward(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, H, W] in 0..1 -> logits [N, attributes]: the mean score over the patches, scaled."""
        scores = self.svm(self.anet(faces).mean(dim=1))  # the scores are linear: their mean is the mean vector's score
        return scores * self.scale + self.shift  # type: ignore[no-any-return]


@torch.no_grad()
def initialise(net: nn.Module, seed: int) -> None:
    """Give every layer random weights (He et al., arXiv 1502.01852, uniform) and no bias; buffers stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = (6 / module.weight[0].numel()) ** 0.5
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
