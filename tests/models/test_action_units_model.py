"""The model for action units as it is served and exported: one `run` for all, whatever its card promises."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.action_units import UNITS, action_units_model

from streamfx.config.serving import Serving
from streamfx.models.action_units import ActionUnitsModel
from streamfx.models.frames import sized_frames
from streamfx.serving.client import open_model
from streamfx.testing import make_window
from streamfx.train.export import export_onnx


@pytest.mark.parametrize(("intensities", "novelty"), [(3, True), (0, False), (3, False)])
def test_the_outputs_are_those_that_the_card_promises(tmp_path: Path, intensities: int, novelty: bool) -> None:
    model = ActionUnitsModel.load(action_units_model(tmp_path / "m", intensities, novelty))
    said = model.run({"frames": torch.zeros(2, 16, 3, 112, 112, dtype=torch.uint8)})
    expected = {"presence": (2, 16, 3)}
    expected |= {"intensity": (2, 16, 3)} if intensities else {}
    expected |= {"novelty": (2, 16)} if novelty else {}
    assert {name: tuple(value.shape) for name, value in said.items()} == expected


def test_in_process_asks_the_same_run(tmp_path: Path) -> None:
    directory = action_units_model(tmp_path / "m")
    client = partial(open_model, serving=Serving())(ActionUnitsModel, str(directory))
    window, model = make_window(4), ActionUnitsModel.load(directory)
    asked = client.submit(ActionUnitsModel.inputs(window, client.info))
    client.flush()
    answer = asked.result(60)
    client.close()
    frames = torch.from_numpy(np.array(sized_frames(window, 112)))[None]
    for name, value in model.run({"frames": frames}).items():
        np.testing.assert_allclose(answer[name], value[0].numpy(), atol=1e-4)
    assert client.info.labels == UNITS and client.info.sound is None


def test_the_exported_graph_answers_as_the_net_does(tmp_path: Path) -> None:
    """Batches of any size too: the export compares three windows with a graph that was traced with one."""
    assert export_onnx(action_units_model(tmp_path / "m", border=1.0), tmp_path / "onnx") <= 1e-4
    assert (tmp_path / "onnx" / "action_units" / "1" / "model.onnx").is_file()
