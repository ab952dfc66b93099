"""The model `light` for Triton's Python backend."""

from light.model import LightModel

from streamfx.serving.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    model = LightModel
