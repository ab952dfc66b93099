"""Privacy: it is on by default, fails closed, and only it makes rows and pictures that leave the process."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamfx.columns import Column, allowed_columns
from streamfx.config.tree import Config
from streamfx.errors import BadChunk, ConfigError, PrivacyRefusal
from streamfx.pipeline import load_config
from streamfx.privacy import fills
from streamfx.privacy.audit import audit_file
from streamfx.privacy.fills import FILLS
from streamfx.privacy.key import key_file, load_key
from streamfx.privacy.pictures import Pictures, PublicPicture, fill_regions
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.rows import PublicRow, Rows
from streamfx.records import Chunk, Partition, TrackedFrame, Window
from streamfx.testing import (
    make_chunk,
    make_frame,
    make_privacy,
    make_pseudonyms,
    make_record,
    make_tracked,
    make_window,
)

DAY_US = 86_400_000_000
HERE = Partition("media", "id", 3)
COLUMNS = (
    Column("p_joy", "float", "joy"),
    Column("mood", "category", "mood", ("glad", "sad")),
    Column("n", "int", "count"),
)


def rows(columns: tuple[Column, ...] = COLUMNS, **changes: Any) -> Rows:
    privacy = make_privacy(**changes)
    return Rows(privacy, make_pseudonyms(privacy), "cfg", columns)


def pictures(**changes: Any) -> Pictures:
    return Pictures(make_privacy(**changes))


def window(start_us: int = 0) -> Window:
    return make_window(side=8, stream_id="alice", birth_us=5, start_us=start_us, closed_by=7, offsets=(6, 7))


def chunk(consent: str | None = None) -> Chunk:
    return make_chunk(7, partition=HERE, stream_id="alice", consent=consent)


def tracked(
    regions: list[tuple[float, float, float, float]] | None, size: int = 64, detected: bool = True
) -> TrackedFrame:
    return make_tracked(make_frame(0, np.full((size, size, 3), 200, np.uint8)), regions, detected)


def test_only_privacy_makes_rows_and_pictures() -> None:
    with pytest.raises(PrivacyRefusal):
        PublicRow(object(), "windows", {})
    with pytest.raises(PrivacyRefusal):
        PublicPicture(object(), np.zeros((1, 1, 3), np.uint8), 0.0)


def test_a_row_cannot_be_changed_after_it_was_checked() -> None:
    row = rows().publish_window(window(), {}, HERE)
    with pytest.raises(TypeError):
        row.values["stream_id"] = "alice"  # type: ignore[index]


def test_no_raw_id_is_in_a_row() -> None:
    made = [
        rows().publish_window(window(), {"p_joy": 0.5}, HERE),
        rows().publish_chunk(make_record(7, partition=HERE, stream_id="alice"), chunk(), "processed", None),
    ]
    for row in made:
        assert "alice" not in repr(dict(row.values))


@pytest.mark.parametrize("timestamp_ms", [-1, 2**63 - 1, 1_767_323_045_000_000])
def test_a_producers_absurd_timestamp_is_clipped_to_a_time_that_every_reader_can_show(timestamp_ms: int) -> None:
    """Without log-append times a topic holds the timestamps of its producers; -1 means none."""
    row = rows().publish_chunk(make_record(7, timestamp_ms=timestamp_ms), None, "undecodable", "bad")
    assert 0 <= row.values["append_time"] <= 7_258_118_400_000_000


@given(st.text(max_size=20), st.integers(0, 5000), st.integers(0, 5000))
def test_pseudonyms_are_equal_within_a_salt_period_and_differ_across_periods(name: str, one: int, other: int) -> None:
    names = make_pseudonyms()
    a, b = (names.stream_pseudonym(name, names.salt_period(day * DAY_US)) for day in (one, other))
    assert (a == b) == (one == other)


def test_pseudonyms_depend_on_the_key() -> None:
    assert Pseudonyms(0, b"a" * 16).stream_pseudonym("s", 0) != Pseudonyms(0, b"b" * 16).stream_pseudonym("s", 0)


def test_a_track_is_unlinkable_across_salt_periods() -> None:
    maker = rows()
    today, tomorrow = (maker.publish_window(window(day * DAY_US), {}, HERE).values for day in (0, 1))
    assert today["track_id"] != tomorrow["track_id"] and today["stream_id"] != tomorrow["stream_id"]


def test_a_short_key_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="at least 16"):
        Pseudonyms(86_400, b"short")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"embedding": 0.1}, "not declared"),
        ({"p_joy": [0.1, 0.2]}, "expected float"),
        ({"p_joy": np.zeros(4)}, "expected float"),
        ({"p_joy": float("nan")}, "finite"),
        ({"mood": "alice"}, "another word"),
        ({"n": 1.5}, "expected int"),
    ],
)
def test_a_value_outside_its_columns_declaration_is_refused(scores: dict[str, Any], said: str) -> None:
    with pytest.raises(PrivacyRefusal, match=said) as caught:
        rows().publish_window(window(), scores, HERE)
    assert "alice" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["face_embedding", "name", "person_id", "landmark_3", "stream_id", "Big", "a-b", "x" * 64]
)
def test_column_names_of_identifying_data_are_refused(name: str) -> None:
    with pytest.raises(PrivacyRefusal):
        allowed_columns([Column(name, "float", "")])


@pytest.mark.parametrize("name", ["model", "model_version", "mood_model_version"])
def test_which_model_answered_is_the_engines_to_say(name: str) -> None:
    with pytest.raises(PrivacyRefusal, match="the engine itself says which model answered"):
        allowed_columns([Column(name, "float", "")])
    with pytest.raises(PrivacyRefusal, match="not declared"):
        versioned({"mood": "1"}).publish_window(window(), {"mood_model_version": "2"}, HERE)


def versioned(versions: dict[str, str]) -> Rows:
    privacy = make_privacy()
    return Rows(privacy, make_pseudonyms(privacy), "cfg", COLUMNS, versions)


def test_every_operator_with_a_model_has_its_version_in_the_row() -> None:
    row = versioned({"expression": "sha256-fd6adcf81ef4-mix-16000", "mood": "v1.2_b+cu12"})
    values = row.publish_window(window(), {"p_joy": 0.5}, HERE).values
    assert values["expression_model_version"] == "sha256-fd6adcf81ef4-mix-16000"
    assert values["mood_model_version"] == "v1.2_b+cu12"


@pytest.mark.parametrize("version", ["", "made by Alice", "alice@example.org", "-1", "é", "1\n", "x" * 65])
def test_a_version_is_a_token_and_no_text(version: str) -> None:
    with pytest.raises(PrivacyRefusal, match="operator 'mood'") as caught:
        versioned({"mood": version})
    assert not version or version not in str(caught.value)


@pytest.mark.parametrize("operator", ["Mood", "my-mood", "m" * 50])
def test_an_operator_whose_name_begins_no_column_is_refused(operator: str) -> None:
    with pytest.raises(PrivacyRefusal, match="which begins the name of a column"):
        versioned({operator: "1"})


def test_free_text_columns_are_refused() -> None:
    with pytest.raises(PrivacyRefusal):
        allowed_columns([Column("mood", "category", "no vocabulary")])


@pytest.mark.parametrize("limits", [{"low": 1.0, "high": 0.0}, {"high": float("inf")}, {"low": float("nan")}])
def test_a_range_that_holds_nothing_or_says_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(PrivacyRefusal, match="expected finite numbers with low <= high"):
        allowed_columns([Column("much", "float", "How much", **limits)])


@pytest.mark.parametrize("limits", [{"unit": "degrees"}, {"low": 0.0}])
def test_only_numbers_have_a_unit_and_a_range(limits: dict[str, Any]) -> None:
    with pytest.raises(PrivacyRefusal, match="unit and range belong to kinds float and int"):
        allowed_columns([Column("there", "bool", "Whether it is there", **limits)])
    assert allowed_columns([Column("much", "float", "How much", **limits)])


def test_a_reason_is_a_token_not_a_sentence() -> None:
    with pytest.raises(PrivacyRefusal):
        rows().publish_chunk(make_record(7), None, "undecodable", "Alice's file is broken")


@pytest.mark.parametrize(
    ("consent", "required", "fate"),
    [("granted", True, None), (None, False, None), ("refused", False, "refused"), (None, True, "refused")],
)
def test_consent_decides_a_chunks_fate(consent: str | None, required: bool, fate: str | None) -> None:
    maker = rows(consent_required=required)
    if fate is None:
        maker.check_consent(chunk(consent))
    else:
        with pytest.raises(BadChunk) as caught:
            maker.check_consent(chunk(consent))
        assert caught.value.fate == fate


def test_a_face_is_filled_solid_and_more_than_its_box() -> None:
    pixels = pictures(mask_dilation=1.5).mask(tracked([(20, 20, 40, 40)]), []).pixels
    assert (pixels[15:45, 15:45] == 0).all()
    assert (pixels[:14] == 200).all()


def test_a_face_stays_filled_before_and_after_a_detection() -> None:
    pixels = pictures().mask(tracked([]), [tracked([(0, 0, 10, 10)]), tracked([(50, 50, 60, 60)])]).pixels
    assert (pixels[:10, :10] == 0).all() and (pixels[50:60, 50:60] == 0).all() and (pixels[30, 30] == 200).all()


def test_where_the_detector_failed_the_whole_frame_is_filled() -> None:
    assert not pictures().mask(tracked(None), []).pixels.any()
    assert not pictures().mask(tracked([]), [tracked(None)]).pixels.any()


def test_a_frame_that_the_detector_did_not_see_is_filled_even_if_it_saw_the_neighbours() -> None:
    assert not pictures().mask(tracked([], detected=False), [tracked([]), tracked([])]).pixels.any()
    assert pictures().mask(tracked([]), [tracked([], detected=False)]).pixels.all()


def test_a_neighbour_of_another_size_makes_the_whole_frame_filled() -> None:
    assert not pictures().mask(tracked([]), [tracked([], size=32)]).pixels.any()


def test_a_picture_carries_no_metadata() -> None:
    png = Image.open(io.BytesIO(pictures().mask(tracked([]), []).png()))
    assert png.info == {}


def config(tmp_path: Path, source: dict[str, Any], **changes: Any) -> Config:
    rules = {"purpose": "p", "deployment_context": "research", **changes}
    return load_config({"source": source, "privacy": rules, "sink": {"path": str(tmp_path / "data")}})


FILES = {"files": {"paths": ["a.mp4"]}}
KAFKA = {"kafka": {"bootstrap": "b:1", "topic": "t"}}


def test_a_run_over_files_makes_a_key_that_only_its_owner_can_read_and_reuses_it(tmp_path: Path) -> None:
    key = load_key(config(tmp_path, FILES))
    (file,) = tmp_path.glob("*.key")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert load_key(config(tmp_path, FILES)) == key and len(key) >= 16


def test_a_kafka_run_needs_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a pseudonym key"):
        load_key(config(tmp_path, KAFKA))
    with pytest.raises(ConfigError, match="does not exist"):
        load_key(config(tmp_path, KAFKA, stream_id_key_file=str(tmp_path / "none")))


def test_a_key_in_the_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the dataset"):
        load_key(config(tmp_path, FILES, stream_id_key_file=str(tmp_path / "data" / "key")))


@pytest.mark.parametrize("here", [".", "sub/.."])
def test_key_and_audit_log_of_a_dataset_in_the_working_directory_lie_beside_it(
    here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data")
    found = config(tmp_path, FILES)
    found = found.model_copy(update={"sink": found.sink.model_copy(update={"path": Path(here)})})
    assert key_file(found) == tmp_path / "data.stream_id.key" and audit_file(found) == tmp_path / "data.audit.jsonl"


def test_a_key_that_could_not_be_written_whole_is_not_left_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as now:
        now.setattr("streamfx.privacy.key.os.fdopen", full)
        with pytest.raises(ConfigError, match="No space left"):
            load_key(config(tmp_path, FILES))
    assert not [*tmp_path.glob("*.key")] and len(load_key(config(tmp_path, FILES))) >= 16


def test_a_key_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFX_TEST_KEY", "e" * 32)
    assert load_key(config(tmp_path, KAFKA, stream_id_key_env="STREAMFX_TEST_KEY")) == b"e" * 32
    monkeypatch.delenv("STREAMFX_TEST_KEY")
    with pytest.raises(ConfigError, match="not set"):
        load_key(config(tmp_path, KAFKA, stream_id_key_env="STREAMFX_TEST_KEY"))


def face() -> np.ndarray:
    """A picture of random pixels."""
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", list(FILLS))
def test_a_fill_changes_the_regions_and_says_how_much(name: str) -> None:
    filled = fill_regions(face(), [(16, 16, 48, 48), (-5, -5, 3, 3)], FILLS[name])
    changed = (filled.pixels != face()).any(axis=2)
    assert changed[16:48, 16:48].mean() > 0.95 and not changed[50:, 50:].any()
    assert filled.filled == pytest.approx(changed.mean(), abs=0.02)


def test_only_solid_leaves_nothing_of_a_face_and_the_others_say_what_they_leave() -> None:
    assert not fill_regions(face(), [(16, 16, 48, 48)], FILLS["solid"]).pixels[16:48, 16:48].any()
    assert [name for name, fill in FILLS.items() if fill.weakness is None] == ["solid"]


@pytest.mark.parametrize("name", list(FILLS))
def test_a_frame_without_known_regions_is_filled_solid_by_every_fill(name: str) -> None:
    filled = fill_regions(face(), None, FILLS[name])
    assert not filled.pixels.any() and filled.filled == 1.0


def test_a_mosaic_has_one_colour_in_each_cell_that_a_region_touches() -> None:
    pixels = fill_regions(face(), [(10, 10, 20, 20)], FILLS["pixelate"]).pixels
    for top in (0, 16):
        for left in (0, 16):
            assert len(np.unique(pixels[top : top + 16, left : left + 16].reshape(-1, 3), axis=0)) == 1
    assert np.array_equal(pixels[32:], face()[32:])


def test_the_noise_of_a_mosaic_is_as_large_as_its_epsilon_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fills, "EPSILON", 5.0)
    grey = np.full((16 * 40, 16 * 40, 3), 128, np.uint8)
    cells = fill_regions(grey, [(0, 0, 640, 640)], FILLS["pixelate"]).pixels[::16, ::16].astype(float)
    scale = 3 * 255 * fills.CHANGED_PX / (16 * 16 * 5.0)
    assert np.abs(cells - 128).mean() == pytest.approx(scale, rel=0.1)
