"""MMA-DFER joined by an expert: a small expression net that others trained on real faces, kept as they published it.

MMA-DFER's frame tokens get the expert's view of each frame, so that the temporal transformer reads both. A net that
learned from drawings is at home there only, so the expert also answers by itself, and the farther a face is from those
that the net learned from, the more its answer counts. How far that is, and how little the expert makes of the face,
also tell how much of the answer may be believed (`novelty`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.face_api import FEATURES, SIZE, FaceApi
from streamfx.nets.mma_dfer import FRAMES, LABELS_7, MmaDfer, MmaDferConfig
from streamfx.nets.vit import unchanged

EVERY = 2
"""The expert sees one frame in this many: neighbouring frames tell it little new, and it costs as much as the rest."""
VIEWS = ((1.0, 0.0, False), (0.93, 0.03, True), (0.93, 0.03, False), (1.0, 0.0, True))
"""What the expert sees of its frames in turn: the share of the crop's side, how far below the crop's middle as a share
of its side, and whether mirrored. One cut alone hangs on the detector's box; those of a window are averaged."""
AT_ONCE = 4
"""Pictures that the expert sees together on a CPU."""
EASE = -0.5
"""Energy (log-sum-exp of its logits; Liu et al., arXiv 2010.03759) at which the expert half knows what it sees. Its
median is about -1.5 on pictures without a face and on covered or turned drawings, and 2.5 to 3.8 on photographs."""
TINY = 1e-6


class ExpertMmaDfer(MmaDfer):
    """`MmaDfer` for the seven expressions of DFEW with the expert `FaceApi`; see the module's text.

    The buffers describe what the net learned from, and are set once after training (`train/settle.py`): the means of
    the face encoder's answer by expression, the map to coordinates in which its spread is even, the distance at
    which the expert counts as much as the net and the width of that transition, and the temperatures of both answers.
    """

    def __init__(self, config: MmaDferConfig):
        self.check(config)
        super().__init__(config)
        self.expert = FaceApi()
        self.expert_proj = nn.Linear(FEATURES + config.classes, config.temporal_dim)
        self.register_buffer("known_means", torch.zeros(config.classes, config.dim))
        self.register_buffer("known_map", unchanged(config.dim))
        self.register_buffer("border", torch.tensor([1.0, 1.0]))
        self.register_buffer("temperatures", torch.ones(2))

    @staticmethod
    def check(config: MmaDferConfig) -> None:
        """Raise ValueError unless the expert can join a net of these sizes."""
        if config.classes != len(LABELS_7) or "face" not in config.modalities:
            raise ValueError(f"the expert knows the face of {len(LABELS_7)} expressions, got {config}")

    def forward(self, frames: Tensor, fbank: Tensor) -> Tensor:
        """Logits float [B, 7]: logarithms of probabilities. Inputs as for `MmaDfer`."""
        return self.answer(frames, fbank)[0]

    def answer(self, frames: Tensor, fbank: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of `forward`, and the novelty float [B] in 0..1.

        Novelty is near 0 where the face is one that the net or the expert knows, and near 1 where neither does.
        """
        own, distance, expert = self.branches(frames, fbank)
        edge, width = self.get_buffer("border")
        warm, cool = self.get_buffer("temperatures")
        strange = torch.sigmoid((distance - edge) / width)
        said = F.softmax(expert / cool, dim=-1).mean(dim=1)
        mixed = torch.lerp(F.softmax(own / warm, dim=-1), said, strange[:, None])
        eased = torch.sigmoid(torch.logsumexp(expert, dim=-1).mean(dim=1) - EASE)
        return torch.log(mixed + TINY), strange * (1 - eased)

    def branches(self, frames: Tensor, fbank: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The net's own logits [B, 7], its distance from what it learned from [B], and the expert's logits by frame
        [B, 8, 7]."""
        pixels = frames.float() if frames.dtype == torch.uint8 else frames * 255
        features, scores = self._read(expert_views(pixels[:, ::EVERY]).flatten(0, 1))
        seen, heard = self.encode(frames, fbank)
        view = self.expert_proj(torch.cat((features, F.softmax(scores, dim=-1)), dim=-1))
        tokens = self.vision_proj(seen + heard)
        tokens = tokens + view.view(-1, FRAMES // EVERY, self.config.temporal_dim).repeat_interleave(EVERY, dim=1)
        return (
            self.classify(tokens),
            self.distance(seen.mean(dim=1)),
            scores.view(-1, FRAMES // EVERY, self.config.classes),
        )

    def _read(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The expert's features and logits of float [N, 3, 112, 112]."""
        if views.is_cuda or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return self.expert.read(views)
        # A few at a time stay in a core's cache; 64 pictures at once take about twice as long each.
        read = [self.expert.read(views[start : start + AT_ONCE]) for start in range(0, len(views), AT_ONCE)]
        return torch.cat([features for features, _ in read]), torch.cat([scores for _, scores in read])

    def distance(self, seen: Tensor) -> Tensor:
        """float [B]: Mahalanobis distance of `seen` [B, dim] from the nearest mean, the spread being that around all."""
        apart = (seen[:, None] - self.get_buffer("known_means")) @ self.get_buffer("known_map")
        nearest: Tensor = apart.norm(dim=-1).amin(dim=1)
        return nearest

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """As `MmaDfer`, but for the expert, which stays as its authors made it."""
        return {name: value for name, value in super().trainable_parameters().items() if not name.startswith("expert.")}


def expert_views(frames: Tensor) -> Tensor:
    """float [B, frames, 3, S, S] -> [B, frames, 3, 112, 112]: each frame as VIEWS says, in turn."""
    shown = []
    for number in range(frames.shape[1]):
        share, down, mirrored = VIEWS[number % len(VIEWS)]
        frame, side = frames[:, number], int(frames.shape[-1])  # a tensor while the export traces
        kept = round(share * side)
        left, top = (side - kept) // 2, min(side - kept, (side - kept) // 2 + round(down * side))
        frame = frame[:, :, top : top + kept, left : left + kept]
        if kept != SIZE:
            frame = F.interpolate(frame, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=False)
        shown.append(frame.flip(-1) if mirrored else frame)
    return torch.stack(shown, dim=1)
