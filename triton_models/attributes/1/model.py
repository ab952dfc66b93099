"""The model of facial attributes for Triton's Python backend."""

from streamfx.models.attributes import AttributesModel
from streamfx.serving.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """See `streamfx/serving/triton_model.py`."""

    model = AttributesModel
