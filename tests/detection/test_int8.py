"""CenterFace in 8 bits: the same faces at nearly the same places, from ranges that fit the net."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from skimage import data

from streamfx.detection import int8
from streamfx.detection.centerface import CenterFace, free_shape, model_file, shared_detector
from streamfx.errors import ModelError


@pytest.mark.parametrize("side", [96, 160, 320, 416])
def test_it_finds_the_same_face_at_nearly_the_same_place(side: int) -> None:
    picture = np.asarray(Image.fromarray(data.astronaut()[:320, :320]).resize((side, side), Image.Resampling.BILINEAR))
    (wanted,) = shared_detector(1).detect(picture, 0.5)
    (found,) = shared_detector(1, "int8").detect(picture, 0.5)
    size = wanted.y1 - wanted.y0
    for edge in ("x0", "y0", "x1", "y1"):
        assert abs(getattr(found, edge) - getattr(wanted, edge)) < 0.06 * size, edge
    assert np.abs(np.array(found.landmarks) - np.array(wanted.landmarks)).max() < 0.06 * size
    assert abs(found.score - wanted.score) < 0.1


def test_there_is_no_face_where_there_is_none() -> None:
    assert shared_detector(1, "int8").detect(np.full((64, 96, 3), 127, np.uint8), 0.2) == []


def test_the_same_picture_gives_the_same_numbers_with_any_number_of_threads() -> None:
    picture = np.ascontiguousarray(data.astronaut()[:320, :320])
    wanted = shared_detector(1, "int8").detect(picture, 0.2)
    assert CenterFace(model_file(), 1, "int8").detect(picture, 0.2) == wanted
    assert CenterFace(model_file(), 2, "int8").detect(picture, 0.2) == wanted


@pytest.mark.parametrize(("narrow", "most"), [(True, 64), (False, 128)])
def test_without_vnni_its_weights_have_7_bits_so_that_no_sum_is_cut(narrow: bool, most: int) -> None:
    net = onnx.load_from_string(int8.to_int8(free_shape(model_file()), narrow))
    weights = [onnx.numpy_helper.to_array(t) for t in net.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    weights = [one for one in weights if one.ndim == 4]
    assert len(weights) > 40 and most / 2 < max(np.abs(one.astype(int)).max() for one in weights) <= most


def test_every_tensor_of_the_net_has_a_range() -> None:
    ranges = json.loads(int8.RANGES_FILE.read_text())
    assert ranges.keys() == int8.tensors(int8.prepared(free_shape(model_file())))
    assert all(low < high for low, high in ranges.values())


def test_ranges_of_another_net_are_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = json.loads(int8.RANGES_FILE.read_text())
    del other["537"]
    (tmp_path / "other.json").write_text(json.dumps(other))
    monkeypatch.setattr(int8, "RANGES_FILE", tmp_path / "other.json")
    with pytest.raises(
        ModelError, match=r"no range for 1 tensors of CenterFace, such as '537'.*set faces.precision: fp32"
    ):
        int8.to_int8(free_shape(model_file()), narrow=False)


def test_it_is_made_once_and_kept_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    model = free_shape(model_file())
    made = int8.int8_net(model)
    (kept,) = (tmp_path / "share" / "streamfx").iterdir()
    assert kept.read_bytes() == made
    monkeypatch.setattr(int8, "to_int8", lambda model, narrow: pytest.fail("it was made a second time"))
    assert int8.int8_net(model) == made


def test_it_is_made_anew_where_the_environment_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.prefix", str(tmp_path / "file"))
    monkeypatch.setattr(int8, "to_int8", lambda model, narrow: b"made")
    assert int8.int8_net(b"") == b"made"


def test_another_net_other_ranges_or_another_runtime_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr(int8, "to_int8", lambda model, narrow: b"made")
    int8.int8_net(b"one")
    int8.int8_net(b"other")
    monkeypatch.setattr("onnxruntime.__version__", "0")
    int8.int8_net(b"one")
    monkeypatch.setattr(int8, "instruction_sets", lambda: ("avx2",))
    int8.int8_net(b"one")
    assert len(list((tmp_path / "share" / "streamfx").iterdir())) == 4
