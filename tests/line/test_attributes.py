"""Attributes in the whole line: beside expression, on the same crops, with a sensitive one that has its purpose."""

from __future__ import annotations

from pathlib import Path

import fastparquet
import numpy as np
from helpers import runs
from PIL import Image

from streamfx.models.attributes import AttributesModel
from streamfx.models.card import resolve_model
from streamfx.models.celeba import CELEBA, SENSITIVE, column_name

PIPELINE = ["faces", "windows", "expression", "attributes", "redact"]
AGE = {"kind": "age", "purpose": "whether the adverts reach all ages, yearly audit 2026"}


def test_rows_have_both_operators_values_and_versions_and_files_say_why(clip: Path, tmp_path: Path) -> None:
    tree = runs.tree(
        tmp_path,
        [clip],
        expression={"model": "expression-small"},
        attributes={"sensitive": ["Young"]},
        privacy={"sensitive": AGE},
    )
    done = runs.streamfx("run", runs.write_config(tmp_path, tree | {"pipeline": PIPELINE}))
    assert done.returncode == 0, done.stderr
    rows = runs.rows(tmp_path / "data", "windows")
    assert len(rows) >= 8
    for row in rows:
        assert 0 <= row["attr_smiling"] <= 1 and row["attr_young"] in (True, False)
        assert row["attr_blurry"] is None  # the model does not know it
        assert row["expression_model_version"].startswith("sha256-") and row["attributes_model_version"]
    columns = {name for name in rows[0] if name.startswith("attr_")}
    assert columns == {column_name(name) for name in CELEBA if name not in SENSITIVE or name == "Young"}
    runs.verified(tmp_path / "data")
    file = next((tmp_path / "data").rglob("*windows*/**/*.parquet"))
    footer = fastparquet.ParquetFile(str(file)).key_value_metadata
    assert any("yearly audit" in str(value) for value in footer.values())


def test_a_run_without_the_purpose_is_refused_at_its_start(clip: Path, tmp_path: Path) -> None:
    tree = runs.tree(tmp_path, [clip], attributes={"sensitive": ["Young"]})
    done = runs.streamfx("run", runs.write_config(tmp_path, tree | {"pipeline": PIPELINE}))
    assert done.returncode == 1 and "privacy.sensitive: attr_young: sensitive (age)" in done.stderr
    assert not (tmp_path / "data").exists()


def test_faces_of_the_lnets_become_windows(clip: Path, tmp_path: Path) -> None:
    """Every picture stays filled, since the LNets may miss a face."""
    tree = runs.tree(
        tmp_path,
        [clip],
        expression={"model": "expression-tiny"},
        faces={"method": "lnet"},
        redact={"preview_dir": str(tmp_path / "previews")},
    )
    done = runs.streamfx("run", runs.write_config(tmp_path, tree))
    assert done.returncode == 0, done.stderr
    version = AttributesModel.read_card(resolve_model("attributes-lnet")).info.version
    windows = runs.rows(tmp_path / "data", "windows")
    assert windows and {row["faces_model_version"] for row in windows} == {version}
    chunks = runs.rows(tmp_path / "data", "chunks")
    assert {row["fate"] for row in chunks} <= {"processed", "no_face"}
    assert "detector_failed" not in {row["reason"] for row in chunks}
    pictures = sorted((tmp_path / "previews").glob("*.png"))
    assert pictures and not any(np.asarray(Image.open(picture)).any() for picture in pictures)
    runs.verified(tmp_path / "data")
