"""The LNets of a model of attributes as a face detector: one face a picture, found by what attributes respond to."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from streamfx.detection.centerface import Detection
from streamfx.errors import ModelError
from streamfx.models.attributes import AttributesModel
from streamfx.models.card import ModelCard, resolve_model

_LANDMARKS = ((0.32, 0.4), (0.68, 0.4), (0.5, 0.6), (0.36, 0.78), (0.64, 0.78))
"""Where eyes, nose and mouth of an upright face lie in its box; the LNets do not find them, so no face is turned."""


class LNetDetector:
    """A `Detector`; `model` must have the method lnet_anet."""

    def __init__(self, model: AttributesModel):
        self._model = model
        self.info = model.info
        """Whose LNets they are."""

    def detect(self, picture: npt.NDArray[np.uint8], threshold: float) -> list[Detection]:
        """The face in a uint8 RGB [H, W, 3], in a list; an empty one where nobody is seen with at least `threshold`."""
        found = self._model.find_face(picture)
        if found is None or found[1] < threshold:
            return []
        face, sure = found
        x0, y0 = face.x - face.side / 2, face.y - face.side / 2
        marks = tuple((x0 + x * face.side, y0 + y * face.side) for x, y in _LANDMARKS)
        return [Detection(x0, y0, x0 + face.side, y0 + face.side, sure, marks)]


def look_at_lnet(name: str) -> ModelCard:
    """The card of a model with LNets. ModelError where there is none of that name, or one without LNets."""
    card = AttributesModel.read_card(resolve_model(name))
    if card.sizes.method != "lnet_anet":
        raise ModelError(
            f"faces.lnet_model: expected weights of the method lnet_anet, got {card.name}, which has no LNets"
        )
    return card


@functools.lru_cache(maxsize=4)
def shared_lnet_detector(name: str) -> LNetDetector:
    """The process's detector with the LNets of this model; ModelError as `look_at_lnet` has it."""
    look_at_lnet(name)
    return LNetDetector(AttributesModel.load(resolve_model(name)))
