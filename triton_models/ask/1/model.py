"""The model that answers questions about a face for Triton's Python backend."""

from streamfx.models.ask import AskModel
from streamfx.serving.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """See `streamfx/serving/triton_model.py`."""

    model = AskModel
