"""The model of action units for Triton's Python backend."""

from streamfx.models.action_units import ActionUnitsModel
from streamfx.serving.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """See `streamfx/serving/triton_model.py`."""

    model = ActionUnitsModel
