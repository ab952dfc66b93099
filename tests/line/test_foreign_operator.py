"""A package outside this repository adds an operator by entry point, with its configuration and columns."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pyarrow.parquet
import pytest
from helpers import runs
from helpers.default_model import default_model

SOURCE = '''
"""How bright each window's face is."""
from pydantic import Field
from streamfx.operator import Column, OperatorConfig, ScoreOperator

class BrightnessConfig(OperatorConfig):
    scale: float = Field(default=1.0, gt=0)
    """Factor on the mean pixel value."""

class Brightness(ScoreOperator):
    name = "brightness"
    Config = BrightnessConfig

    @property
    def columns(self):
        return (Column("brightness", "float", "Mean pixel value of the window's face, times scale"),
                Column("light", "category", "In words", ("dark", "bright")))

    def score(self, window):
        mean = float(window.frames.mean()) * self.config.scale
        return {"brightness": mean, "light": "bright" if mean > 100 else "dark"}

class Contrast(ScoreOperator):
    name = "contrast"
    Config = OperatorConfig

    @property
    def columns(self):
        return (Column("contrast", "float", "Deviation of the window's pixel values"),)

    def score(self, window):
        return {"contrast": float(window.frames.std())}

    def provenance(self):
        return {"model": "contrast by hand", "model_version": "1.0"}
'''


@pytest.fixture
def package(tmp_path: Path) -> dict[str, str]:
    """A package (module and metadata) installed in a separate folder, as the environment of a run."""
    site = tmp_path / "site"
    info = site / "brightness_op-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "brightness_op.py").write_text(textwrap.dedent(SOURCE))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness-op\nVersion: 1.0\n")
    points = ("brightness = brightness_op:Brightness", "contrast = brightness_op:Contrast")
    (info / "entry_points.txt").write_text("\n".join(("[streamfx.operators]", *points, "")))
    return {**os.environ, "PYTHONPATH": str(site)}


def config_file(tmp_path: Path, clip: Path, **section: object) -> Path:
    config = runs.tree(tmp_path, [clip], brightness=section)
    config["pipeline"] = ["faces", "windows", "expression", "brightness", "contrast", "redact"]
    return runs.write_config(tmp_path, config)


def test_the_columns_of_a_foreign_operator_are_appended(
    tmp_path: Path, clip: Path, quickstart: Path, package: dict[str, str]
) -> None:
    done = runs.streamfx("run", config_file(tmp_path, clip, scale=2.0), env=package)
    assert done.returncode == 0, done.stderr
    rows = runs.rows(tmp_path / "data", "windows")
    assert len(rows) == sum(runs.keys(quickstart / "data").values())
    assert all(row["brightness"] > 0 and row["light"] in ("dark", "bright") and row["p_happiness"] > 0 for row in rows)
    runs.verified(tmp_path / "data")
    versions = {name for name in rows[0] if name.endswith("_model_version")}
    assert versions == {"expression_model_version", "contrast_model_version"}, "brightness has no model"
    assert all(row["contrast_model_version"] == "1.0" for row in rows)
    (file, *_) = (tmp_path / "data" / "windows").rglob("*.parquet")
    footer = {k.decode(): v.decode() for k, v in pyarrow.parquet.read_schema(file).metadata.items()}
    assert footer["streamfx.contrast.model"] == "contrast by hand"
    assert footer["streamfx.expression.model"] == default_model()


def test_the_configuration_of_a_foreign_operator_is_checked_and_in_the_schema(
    tmp_path: Path, clip: Path, package: dict[str, str]
) -> None:
    wrong = runs.streamfx("config", "check", config_file(tmp_path, clip, scale=-1), env=package)
    assert wrong.returncode == 1 and "brightness.scale" in wrong.stderr
    assert '"brightness"' in runs.streamfx("config", "schema", env=package).stdout


def test_without_the_package_the_pipeline_does_not_start(tmp_path: Path, clip: Path) -> None:
    done = runs.streamfx("config", "check", config_file(tmp_path, clip, scale=1))
    assert done.returncode == 1 and "operator 'brightness' is not installed" in done.stderr


def test_a_package_that_cannot_be_imported_stops_only_pipelines_that_name_its_operator(
    tmp_path: Path, clip: Path, package: dict[str, str]
) -> None:
    (Path(package["PYTHONPATH"]) / "brightness_op.py").write_text("import a_package_that_is_missing\n")
    named = runs.streamfx("config", "check", config_file(tmp_path, clip, scale=1), env=package)
    assert named.returncode == 1 and "Traceback" not in named.stderr
    assert "operator 'brightness' (brightness_op:Brightness) is installed and cannot be imported" in named.stderr
    assert "a_package_that_is_missing" in named.stderr
    other = runs.streamfx("config", "check", runs.write_config(tmp_path, runs.tree(tmp_path, [clip])), env=package)
    assert other.returncode == 0, other.stderr
    schema = runs.streamfx("config", "schema", env=package)
    assert schema.returncode == 0 and '"expression"' in schema.stdout and "left out of the schema" in schema.stderr
