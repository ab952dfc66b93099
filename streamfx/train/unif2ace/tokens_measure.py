"""What of a face is still there when a tokenizer has drawn it again: pixels, and what nets read from it.

Pixels mislead: at 25 dB mouths may have closed and glasses be gone. So the same nets are shown the original and the copy, at
the tokenizer's size, and it is told how often they say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from streamfx.media.audio import missing_sound
from streamfx.models.action_units import INTENSITIES, INTENSITY, ActionUnitsModel
from streamfx.models.attributes import AttributesModel
from streamfx.models.card import find_directory
from streamfx.models.expression import ExpressionModel
from streamfx.models.outside import fetch_face_api
from streamfx.nets.face_api import SIZE, FaceApi
from streamfx.nets.mma_dfer import FRAMES
from streamfx.train.unif2ace.faces import at_side, in_parts

MAIN_UNITS = ("au_04", "au_12", "au_25", "au_26", "au_45")
"""Brows, smile, lips, jaw and lids."""
GLASSES = "Eyeglasses"
EXPRESSION, UNITS, ATTRIBUTES = "expression-small", "action-units", "attributes-shared"
"""The models of ours that judge."""
_MODEL_SIDE = 112


@dataclass(frozen=True)
class Judges:
    """Nets that read expressions (an outside one, and ours), action units and attributes; none of them is trained here."""

    outside: FaceApi
    expression: ExpressionModel
    units: ActionUnitsModel
    attributes: AttributesModel

    @classmethod
    def load(cls) -> Judges:
        """From the weights that ship, and face-api's, which are fetched where they are not here."""
        return cls(
            fetch_face_api(),
            ExpressionModel.load(find_directory(EXPRESSION)),
            ActionUnitsModel.load(find_directory(UNITS)),
            AttributesModel.load(find_directory(ATTRIBUTES)),
        )

    @torch.no_grad()
    def read(self, faces: Tensor, ours: bool) -> dict[str, Tensor]:
        """Of faces float [N, 3, S, S]: `outside` and, with `ours`, which takes long, `expression`: numbers of expressions [N];
        `units` [N, MAIN_UNITS] in 0..5; `glasses` [N] a logit."""
        large = at_side(faces, _MODEL_SIDE).clamp(0, 1)
        named = self.units.card.facts[INTENSITIES]
        intensity = self.units.net.answer(large)[INTENSITY]
        outside, attributes = self.look(faces)
        units = intensity[:, [named.index(unit) for unit in MAIN_UNITS]]
        told = {"outside": outside, "units": units, "glasses": attributes[GLASSES]}
        if ours:
            told["expression"] = self._still(large)
        return told

    @torch.no_grad()
    def look(self, faces: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Of faces float [N, 3, S, S]: numbers of expressions [N] by the outside net, and logits [N] of each attribute."""
        large = at_side(faces, _MODEL_SIDE).clamp(0, 1)
        logits = self.attributes.net(large)
        named = dict(zip(self.attributes.card.labels, logits.unbind(dim=1), strict=True))
        return self.outside.read(at_side(large, SIZE) * 255)[1].argmax(dim=1), named

    def _still(self, large: Tensor) -> Tensor:
        """As of a film that stands still, without sound."""
        frames = (large * 255).round().byte()[:, None].expand(-1, FRAMES, -1, -1, -1).contiguous()
        silence = torch.from_numpy(missing_sound()).view(1, 1, *missing_sound().shape[-2:])
        answer = self.expression.run({"frames": frames, "fbank": silence.expand(len(large), -1, -1, -1).contiguous()})
        return answer["logits"].argmax(dim=1)


@dataclass(frozen=True)
class Compared:
    """What judges read of faces and of their copies, as `Judges.read` has it, and the decibels [N] between them."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    psnr_db: Tensor

    def told(self, rows: Tensor | None = None) -> dict[str, float]:
        """Of all pictures or of some: `psnr_db`; the shares of pictures named the same, `expression_outside` and
        `expression`; each unit's `r_<unit>` and `r_units`, the mean of those that vary; `glasses_kept`, of the faces that the
        net saw with glasses, how many it still does, and `glasses_new` of those without."""
        every = torch.arange(len(self.psnr_db)) if rows is None else rows
        before, after = ({name: one[every] for name, one in side.items()} for side in (self.before, self.after))
        told = {"psnr_db": float(self.psnr_db[every].mean())}
        told |= {
            name: _share(before[key] == after[key])
            for key, name in (("outside", "expression_outside"), ("expression", "expression"))
            if key in before
        }
        rs = {f"r_{unit}": _r(before["units"][:, n], after["units"][:, n]) for n, unit in enumerate(MAIN_UNITS)}
        known = [r for r in rs.values() if not math.isnan(r)]
        wears = before["glasses"] > 0
        told |= rs | {"r_units": float(np.mean(known)) if known else math.nan}
        told["glasses_kept"] = _share(after["glasses"][wears] > 0)
        told["glasses_new"] = _share(after["glasses"][~wears] > 0)
        return told


def compared(judges: Judges, faces: Tensor, copies: Tensor, ours: bool = False) -> Compared:
    """Of faces and their copies, float [N, 3, S, S] in 0..1; `ours` as for `Judges.read`."""
    error = (faces - copies).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    before, after = (_joined([judges.read(one[part], ours) for part in in_parts(len(one))]) for one in (faces, copies))
    return Compared(before, after, -10 * error.log10())


def survived(judges: Judges, faces: Tensor, copies: Tensor, ours: bool = False) -> dict[str, float]:
    """What `Compared.told` says of all faces and their copies."""
    return compared(judges, faces, copies, ours).told()


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _share(true: Tensor) -> float:
    return float(true.float().mean()) if len(true) else math.nan


def _r(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation; NaN where one of both does not vary."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 1e-9 else math.nan
