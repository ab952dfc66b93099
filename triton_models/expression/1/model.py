"""The expression model for Triton's Python backend."""

from streamfx.models.expression import ExpressionModel
from streamfx.serving.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """See `streamfx/serving/triton_model.py`."""

    model = ExpressionModel
