"""A plan is for the user's cameras: it shows its assumptions about a stream and accepts the user's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamfx.cli.main import main
from streamfx.errors import ConfigError
from streamfx.models.find import read_card
from streamfx.shipped import PACKAGE, shipped
from streamfx.tuning.costs import Costs, read_costs, stale
from streamfx.tuning.plan import Camera, plan

STORY = PACKAGE / "assets" / "story.mp4"


def costs(**changes: Any) -> Costs:
    return read_costs().model_copy(update={"pixels": 102_400.0, "faces": 1.0} | changes)


def planned(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["plan", "--streams", "50", "--fps", "25", "--hours", "24", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_full_hd_cameras_need_many_times_the_samples_network() -> None:
    small, large = plan(costs(), 50, 25, 24), plan(costs(), 50, 25, 24, Camera(pixels=1920 * 1080))
    for name in ("network_in_mbit_per_s", "kafka_storage_gib"):
        assert large[name] == pytest.approx((small[name] or 0) * 20.25, rel=1e-3)
    assert (large["worker_s_per_media_s"] or 0) > (small["worker_s_per_media_s"] or 0)
    assert (large["worker_memory_gib"] or 0) > (small["worker_memory_gib"] or 0)


def test_a_bit_rate_decides_network_and_storage_whatever_the_pixels() -> None:
    for camera in (Camera(bits_per_s=4e6), Camera(pixels=1920 * 1080, bits_per_s=4e6)):
        made = plan(costs(), 50, 15, 24, camera)
        assert made["network_in_mbit_per_s"] == 250  # 50 * 4 / 0.8
        assert made["kafka_storage_gib"] == pytest.approx(50 * 86400 * 4e6 / 8 * 3 / 0.8 / 2**30, abs=0.01)


def test_faces_decide_windows_rows_and_gpus() -> None:
    gpu = costs(net_device="cuda", gpu="a card")
    one, four = plan(gpu, 200, 25, 24), plan(gpu, 200, 25, 24, Camera(faces=4))
    assert (four["gpus"] or 0) > 2 * (one["gpus"] or 0)
    assert four["parquet_storage_gib"] == pytest.approx((one["parquet_storage_gib"] or 0) * 4, rel=1e-2)
    assert four["network_in_mbit_per_s"] == one["network_in_mbit_per_s"]


def test_the_samples_own_picture_size_changes_nothing() -> None:
    assert plan(costs(), 50, 25, 24, Camera(102_400, None, 1)).figures == plan(costs(), 50, 25, 24).figures


def test_the_plan_begins_with_the_assumptions_about_a_stream() -> None:
    text = planned()
    assert text.startswith("Each stream: 0.102 megapixels, 25 frames a second, 0.297 Mbit/s, 1 faces")
    assert "Taken from the sample of the costs: the values of --resolution, --bitrate, --faces" in text
    text = planned("--resolution", "1920x1080", "--bitrate", "4M", "--faces", "3")
    assert text.startswith("Each stream: 2.07 megapixels, 25 frames a second, 4 Mbit/s, 3 faces")
    assert "Taken from the sample" not in text


def test_a_sample_is_measured() -> None:
    """The costs that ship were measured on this very clip."""
    text = planned("--sample", str(STORY))
    assert text.startswith("Each stream: 0.102 megapixels, 25 frames a second, 0.297 Mbit/s")
    assert "the values of --faces" in text


@pytest.mark.parametrize(
    ("option", "value"),
    [("--resolution", "1080p"), ("--resolution", "0x5"), ("--bitrate", "4"), ("--bitrate", "0M"), ("--faces", "0")],
)
def test_an_unreadable_value_is_refused_with_its_option(option: str, value: str) -> None:
    result = CliRunner().invoke(main, ["plan", "--streams", "1", "--fps", "25", "--hours", "1", option, value])
    assert result.exit_code == 2 and option in result.output


def test_costs_without_a_description_of_their_sample_do_not_convert() -> None:
    with pytest.raises(ConfigError, match="--resolution: these costs do not say what their sample was like"):
        plan(costs(pixels=None), 50, 25, 24, Camera(pixels=1920 * 1080))


def test_costs_of_other_weights_than_the_shipped_ones_are_reported() -> None:
    version = read_card(shipped("weights") / "expression-small").info.version
    assert stale(costs(model=f"expression-small {version}")) is None
    assert stale(costs(model="a-model-of-mine sha256-1")) is None
    old = costs(model="expression-small sha256-0")
    said = stale(old)
    assert said is not None and "sha256-0" in said and version in said
    assert said in plan(old, 1, 25, 1).notes


def test_the_page_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text()
    first = planned().replace("--streams 50", "").splitlines()[0]
    assert first in page
