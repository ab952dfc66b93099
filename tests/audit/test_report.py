"""The audit of real datasets: a planted leak is found and named, no leak is found where none is, and too little data has
no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.planted import COLUMNS, Plant, Seen, nothing, plant_dataset

from streamfx.audit.measure import Measured, Unmeasured
from streamfx.audit.report import Links, Report, audit
from streamfx.columns import Column
from streamfx.errors import ConfigError, SinkError
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.sink.place import open_place
from streamfx.testing import make_pseudonyms

DAY_S = 86_400
CAMERAS = [f"camera-{number}" for number in range(4)]


def audited(place: Path, salt_period_s: int | None = None, streams: Sequence[str] = (), **links: Any) -> Report:
    """The audit, with the key of the tests' pseudonyms where streams are named."""
    pseudonyms = links.get("pseudonyms", make_pseudonyms())
    return audit(open_place(place), str(place), salt_period_s, Links(pseudonyms, streams) if streams else None)


def measured(report: Report, part: str) -> Measured:
    found = report.parts[part]
    assert isinstance(found, Measured), found
    return found


def of_stream(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
    """Action unit 12 is by the stream, on every day."""
    return nothing(seen, random) | {"au_12": seen.stream + float(random.normal() * 0.2)}


def of_track(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
    """The face's height is by the track, and alike in all streams."""
    return nothing(seen, random) | {"face_height_px": 60.0 + 20 * seen.track + float(random.normal())}


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_dataset(tmp_path_factory.mktemp("leaky") / "rows", of_stream, days=2)


@pytest.fixture(scope="module")
def leaky_report(leaky: Path) -> Report:
    return audited(leaky, DAY_S, CAMERAS)


@pytest.fixture(scope="module")
def clean_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    place = plant_dataset(tmp_path_factory.mktemp("clean") / "rows", nothing, days=2, tracks=4, windows=80)
    return audited(place, DAY_S, CAMERAS)


def test_a_column_that_tells_the_stream_is_found_and_named(leaky_report: Report) -> None:
    stream = measured(leaky_report, "stream")
    assert all(lift.low > 0.2 for lift in stream.lift.values())
    assert stream.carriers()[0] == "au_12"
    best = {group: max(lift.low for lift in lifts.values()) for group, lifts in stream.groups.items()}
    assert max(best, key=lambda group: best[group]) == "action_units"
    assert [group for group, low in best.items() if low > 0.05] == ["action_units"]
    assert stream.group_lost["action_units"].low > 0.2 > stream.group_lost["scores"].high


def test_what_tells_the_stream_on_every_day_tells_it_across_salt_periods(leaky_report: Report) -> None:
    across = measured(leaky_report, "across_salts")
    assert across.classes == 4 and across.lift["hidden"].low > 0.5
    assert across.carriers()[0] == "au_12"


def test_a_column_that_tells_the_track_is_found_and_named(tmp_path: Path) -> None:
    report = audited(plant_dataset(tmp_path / "rows", of_track))
    track, stream = measured(report, "track"), measured(report, "stream")
    assert track.carriers()[0] == "face_height_px"
    assert track.groups["sizes"]["linear"].low > 0.3
    assert all(lift.low < 0.05 for lift in stream.lift.values())


@pytest.mark.parametrize("part", ["stream", "track", "across_salts"])
def test_rows_that_give_nothing_away_have_an_interval_around_no_lift(part: str, clean_report: Report) -> None:
    found = measured(clean_report, part)
    assert all(lift.low <= 0 <= lift.high for lift in found.lift.values()), found.lift
    assert found.carriers() == []
    # What is the same in all windows tells nothing, for sure.
    assert all((lift.low, lift.high) == pytest.approx((0, 0), abs=1e-9) for lift in found.groups["sizes"].values())


def test_values_of_the_leak_dealt_to_other_streams_are_no_leak(tmp_path: Path) -> None:
    def dealt(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
        return of_stream(Seen(int(random.integers(4)), seen.track, seen.day, seen.number), random)

    stream = measured(audited(plant_dataset(tmp_path / "rows", dealt, tracks=4, windows=80)), "stream")
    assert all(lift.low <= 0 <= lift.high for lift in stream.lift.values())


def test_a_null_that_comes_from_one_stream_alone_is_a_leak(tmp_path: Path) -> None:
    def holes(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
        return nothing(seen, random) | {"au_01": None if seen.stream == 0 else float(random.random())}

    assert measured(audited(plant_dataset(tmp_path / "rows", holes)), "stream").carriers()[0] == "au_01"


FEW: list[tuple[str, dict[str, int], str]] = [
    ("stream", {"streams": 1}, "no two classes"),
    ("stream", {"windows": 6}, "no two classes"),  # 18 of each stream, whose three tracks have 6 each
    ("stream", {"streams": 2, "tracks": 2}, "4 tracks are held out, and an interval needs 5"),
    ("track", {"tracks": 1}, "no two classes"),
    ("stream", {"streams": 0}, "no two classes"),
]


@pytest.mark.parametrize(("part", "size", "why"), FEW)
def test_too_little_data_has_no_number(part: str, size: dict[str, int], why: str, tmp_path: Path) -> None:
    found = audited(plant_dataset(tmp_path / "rows", of_stream, **size)).parts[part]
    assert isinstance(found, Unmeasured)
    assert found.why.startswith("not enough data: ") and why in found.why
    assert found.as_json() == {"measured": False, "why": found.why}


def test_without_the_key_nothing_is_said_across_salt_periods_and_why_is(leaky: Path) -> None:
    found = audited(leaky).parts["across_salts"]
    assert isinstance(found, Unmeasured) and "only the key tells" in found.why


def test_one_salt_period_is_not_enough_to_measure_across(tmp_path: Path) -> None:
    found = audited(plant_dataset(tmp_path / "rows", of_stream), DAY_S, CAMERAS).parts["across_salts"]
    assert isinstance(found, Unmeasured) and "two salt periods" in found.why


def test_another_key_or_a_mistyped_id_links_nothing_and_is_said(leaky: Path) -> None:
    with pytest.raises(ConfigError, match="no row names stream 2 of the 2 given"):
        audited(leaky, DAY_S, ["camera-0", "camera-x"])
    with pytest.raises(ConfigError, match="no row names stream 1"):
        audited(leaky, DAY_S, CAMERAS, pseudonyms=Pseudonyms(DAY_S, b"another key of the right length"))


def test_pseudonyms_of_one_camera_are_not_compared_with_each_other_whether_the_period_is_known_or_not(
    leaky: Path, leaky_report: Report
) -> None:
    """Were the four cameras' eight pseudonyms one group, no probe could be right in more than half of the windows."""
    for report in (leaky_report, audited(leaky)):
        stream = measured(report, "stream")
        assert (stream.classes, stream.accuracy["hidden"] > 0.9) == (8, True)


def test_an_audit_of_the_same_rows_says_the_same(leaky: Path, leaky_report: Report) -> None:
    assert audited(leaky, DAY_S, CAMERAS).as_json() == leaky_report.as_json()


GROUPS = {
    **{"p_happiness": "scores", "expression": "scores", "au_01": "action_units", "au_12": "action_units"},
    **{"attr_smiling": "attributes", "gait_speed": "gait"},
}


@pytest.mark.parametrize("columns", [COLUMNS[:2], COLUMNS[:4], (*COLUMNS, Column("gait_speed", "float", "told"))])
def test_any_set_of_operators_can_be_audited(columns: tuple[Column, ...], tmp_path: Path) -> None:
    kept = {column.name for column in columns}

    def some(seen: Seen, random: np.random.Generator) -> dict[str, Any]:
        values = nothing(seen, random) | {"gait_speed": float(seen.stream)}
        return {name: value for name, value in values.items() if name in kept}

    plant: Plant = some
    report = audited(plant_dataset(tmp_path / "rows", plant, columns=columns))
    assert kept < report.columns.keys()
    stream = measured(report, "stream")
    assert set(stream.groups) == {"times", "sizes", "quality", *(GROUPS[name] for name in kept)}
    if "gait_speed" in kept:
        assert stream.carriers()[0] == "gait_speed" and stream.groups["gait"]["hidden"].low > 0.3


def test_ids_and_places_of_origin_are_never_seen_by_a_probe(leaky_report: Report) -> None:
    never = {"stream_id", "track_id", "config_id", "purpose", "topic", "partition", "offset", "first_offset"}
    assert not never & leaky_report.columns.keys()
    assert leaky_report.model_versions == {"action_units": ["v1"], "expression": ["v1"]}


def test_the_report_names_no_stream_and_no_pseudonym(leaky_report: Report) -> None:
    text = str(leaky_report.as_json())
    names = [make_pseudonyms().stream_pseudonym(c, p) for c in CAMERAS for p in range(19_675, 19_677)]
    assert not any(name in text for name in [*CAMERAS, *names])


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="not a streamfx dataset"):
        audited(tmp_path)
