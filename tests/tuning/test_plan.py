"""A plan is a pure function of measured stage costs: it names them, rounds up, and plans GPUs only from GPU costs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfx.cli.main import main
from streamfx.errors import ConfigError
from streamfx.runtime.scaling import HEADROOM
from streamfx.tuning.costs import Costs, read_costs
from streamfx.tuning.plan import plan

COSTS: dict[str, Any] = {
    "measured_on": "2026-01-02",
    "machine": "a processor",
    "cores": 8,
    "load_per_core": 0.1,
    "model": "expression-small sha256-0",
    "net_device": "cpu",
    "gpu": None,
    "sample_fps": 8,
    "video_fps": 25,
    "decode_s_per_frame": 0.001,
    "faces_s_per_media_s": 0.1,
    "windows_s_per_media_s": 0.02,
    "inference_s_per_media_s": 0.005,
    "redaction_s_per_media_s": 0.0,
    "write_s_per_media_s": 0.01,
    "net_s_per_window": 0.02,
    "cpu_s_per_media_s": 0.2,
    "windows_per_media_s": 1.0,
    "media_bytes_per_frame": 4000,
    "rows_bytes_per_media_s": 500,
    "worker_peak_bytes": 2**30,
}


def costs(**changes: Any) -> Costs:
    return Costs.model_validate(COSTS | changes)


def test_a_worked_example() -> None:
    made = plan(costs(), streams=100, fps=25, hours=24)
    assert made["worker_s_per_media_s"] == pytest.approx(0.16)
    assert made["streams_per_worker"] == 5  # 0.8 / 0.16
    assert made["workers"] == 20
    assert made["partitions"] == 60
    assert made["cpu_cores"] == 25  # 100 * 0.2 / 0.8
    assert made["gpus"] is None
    assert made["network_in_mbit_per_s"] == 100  # 100 * 25 * 4000 * 8 / 0.8
    assert made["brokers_in_mbit_per_s"] == 300  # three copies
    assert made["network_out_mbit_per_s"] == 0.5
    assert made["kafka_storage_gib"] == pytest.approx(100 * 86400 * 25 * 4000 * 3 / 0.8 / 2**30, abs=0.01)
    assert made["parquet_storage_gib"] == pytest.approx(100 * 86400 * 500 / 0.8 / 2**30, abs=0.01)
    assert made["files_per_day"] == 135_000  # 2 * 100 * 86400 / (2 * 64)
    held = 100 * 4 * (16 * 224 * 224 * 3 + 512 * 128 * 4)
    assert made["worker_memory_gib"] == pytest.approx((20 * 2**30 + held) / 0.8 / 2**30, abs=0.01)


@settings(deadline=None)
@given(st.integers(1, 10_000), st.floats(1, 120), st.floats(0.1, 1000), st.integers(1, 10_000))
def test_more_streams_never_need_less(streams: int, fps: float, hours: float, more: int) -> None:
    small = plan(costs(), streams, fps, hours)
    for large in (plan(costs(), streams + more, fps, hours), plan(costs(), streams, fps + more, hours)):
        for figure in small.figures:
            value = large[figure.name]
            if figure.value is not None and value is not None and figure.name != "streams_per_worker":
                assert value >= figure.value, figure.name


@settings(deadline=None)
@given(st.integers(1, 10_000), st.floats(1, 60))
def test_no_worker_is_planned_over_the_headroom_and_every_worker_has_a_partition(streams: int, fps: float) -> None:
    made = plan(costs(), streams, fps, 1)
    workers, partitions, pace = made["workers"], made["partitions"], made["worker_s_per_media_s"]
    assert workers and partitions and pace
    assert workers <= partitions <= max(streams, workers)
    assert math.ceil(streams / workers) * pace <= HEADROOM + 1e-6


def test_every_figure_names_its_inputs_with_their_values() -> None:
    made = plan(costs(), 10, 25, 1)
    for figure in made.figures:
        for name, value in figure.inputs.items():
            assert name in figure.formula
            assert name not in COSTS or value == COSTS[name]


def test_gpus_are_planned_only_from_costs_measured_on_one() -> None:
    unknown = next(figure for figure in plan(costs(), 10, 25, 1).figures if figure.name == "gpus")
    assert unknown.value is None and "no GPU costs were measured" in unknown.formula
    assert plan(costs(net_device="triton"), 10, 25, 1)["gpus"] is None
    measured = costs(net_device="cuda", gpu="a GPU", net_s_per_window=0.002)
    assert plan(measured, 1000, 25, 1)["gpus"] == 3  # 1000 * 0.002 / 0.8


def test_nets_that_are_slower_than_the_line_decide_how_many_streams_a_worker_takes() -> None:
    made = plan(costs(net_s_per_window=0.4), 10, 25, 1)
    assert made["worker_s_per_media_s"] == 0.4 and made["workers"] == 5
    assert plan(costs(net_s_per_window=0.4, net_device="triton"), 10, 25, 1)["worker_s_per_media_s"] == pytest.approx(
        0.16
    )


def test_windows_go_over_the_network_where_triton_scores_them() -> None:
    def out(device: str) -> float:
        return plan(costs(net_device=device), 10, 25, 1)["network_out_mbit_per_s"] or 0.0

    assert out("triton") > 100 * out("cpu")


def test_a_stream_that_is_too_much_for_one_worker_is_reported() -> None:
    made = plan(costs(faces_s_per_media_s=1.5), 4, 25, 1)
    assert made["streams_per_worker"] == 0 and made["workers"] == 4
    assert any("more workers do not help" in note for note in made.notes)


def test_costs_from_a_busy_machine_are_reported_and_replaced_by_cpu_seconds() -> None:
    busy = plan(costs(load_per_core=3, faces_s_per_media_s=2.0, cpu_s_per_media_s=0.2), 1, 25, 1)
    assert any("busy" in note for note in busy.notes) and busy["worker_s_per_media_s"] == 0.2
    assert not any("busy" in note for note in plan(costs(), 1, 25, 1).notes)


def test_the_shipped_costs_name_machine_day_cores_and_model() -> None:
    shipped = read_costs()
    assert (
        shipped.machine and shipped.measured_on and shipped.cores >= 1 and shipped.model.startswith("expression-faces ")
    )
    assert plan(shipped, 10, 25, 1)["workers"]


def test_the_command_prints_each_figure_with_its_inputs(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"costs": COSTS, "runs": []}))
    arguments = ["plan", "--streams", "100", "--fps", "25", "--hours", "24", "--costs", str(file)]
    table = CliRunner().invoke(main, arguments)
    assert table.exit_code == 0, table.output
    assert "faces_s_per_media_s 0.1" in table.output and "measured on 2026-01-02" in table.output
    raw = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert {figure["name"]: figure["value"] for figure in raw["figures"]}["workers"] == 20


def test_wrong_costs_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({**COSTS, "cores": 0, "colour": "red"}))
    with pytest.raises(ConfigError, match="cores: expected a number greater") as caught:
        read_costs(file)
    assert any("colour: unknown key" in problem for problem in caught.value.problems)
    file.write_text("[]")
    with pytest.raises(ConfigError, match="holds no stage costs"):
        read_costs(file)
    with pytest.raises(ConfigError, match="expected the JSON that"):
        read_costs(tmp_path / "absent.json")


def test_numbers_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected positive"):
        plan(costs(), 1, 0, 1)


@pytest.mark.parametrize(
    ("streams", "fps", "hours"),
    [(1, math.nan, 1), (1, math.inf, 1), (1, 25, math.nan), (1, 25, math.inf), (1, 1e308, 1e308), (10**400, 25, 1)],
)
def test_infinite_and_huge_numbers_are_refused(streams: int, fps: float, hours: float) -> None:
    with pytest.raises(ConfigError, match="--streams, --fps"):
        plan(costs(), streams, fps, hours)


def test_costs_that_are_too_large_to_add_up_are_refused() -> None:
    with pytest.raises(ConfigError, match="too large to count with"):
        plan(costs(decode_s_per_frame=1e308, cpu_s_per_media_s=1e308), 1, 25, 1)
