"""Windows: keys, borders and contents follow event time alone; a restart in the middle of them is not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from helpers.segments import assert_same_windows, comparable, through_json
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from streamfx_operators.windows import Windows, WindowsConfig

from streamfx.media.audio import log_mel, missing_sound
from streamfx.records import MICROSECONDS, Segment, Snapshot, Sound, Window
from streamfx.testing import SAMPLE_PERIOD_US as PERIOD_US
from streamfx.testing import START_US as EVEN_US
from streamfx.testing import ScriptedFaces, Stream, make_context, noise, run_windows

SECOND = MICROSECONDS
SIDE = 24


def picture(number: int) -> np.ndarray:
    """A picture that says which frame it is, with a texture in which a wrong crop shows."""
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    return np.stack([np.full((SIDE, SIDE), number % 256), x * 7, y * 5], axis=-1).astype(np.uint8)


def always(number: int) -> bool:
    return True


def stream(seconds: float, start_us: int = EVEN_US, **changes: Any) -> Stream:
    frames = round(seconds * 25)
    return Stream(frames, picture, start_us=start_us, **({"sound": noise(frames)} | changes))


def windows(period_us: int = PERIOD_US, **config: Any) -> Windows:
    return Windows(WindowsConfig(**({"crop_px": 16} | config)), make_context(sample_period_us=period_us))


def spans(closed: Sequence[Window]) -> list[tuple[float, float]]:
    return [((w.start_us - EVEN_US) / SECOND, (w.end_us - EVEN_US) / SECOND) for w in closed]


# --- which windows there are ---


def test_windows_start_on_utc_multiples_of_the_hop_and_are_partial_at_both_ends() -> None:
    closed = run_windows(ScriptedFaces(always), windows(), stream(4, start_us=EVEN_US + 300_000).cut())
    assert spans(closed) == [(0, 2), (1, 3), (2, 4), (3, 5)]
    assert [int(w.present.sum()) for w in closed] == [14, 16, 16, 10]


def test_a_window_needs_the_face_in_half_of_its_segments() -> None:
    base = EVEN_US // PERIOD_US
    for count, wanted in ((7, []), (8, [(0.0, 2.0)])):
        there = lambda n, count=count: base + 4 <= n < base + 4 + count  # noqa: E731
        assert spans(run_windows(ScriptedFaces(there), windows(), stream(2).cut())) == wanted


def test_a_window_closes_with_the_chunk_whose_event_time_reaches_its_end() -> None:
    operator, faces = windows(), ScriptedFaces(always)
    closed = [
        operator.add("s", 5 + k, s, faces.track("s", 5 + k, s)) for k, s in enumerate(stream(4).cut([25, 49, 74]))
    ]
    assert [spans(w) for w in closed] == [[(-1, 1)], [], [(0, 2)], [(1, 3), (2, 4)]]
    facts = [(w.closed_by, w.offsets) for some in closed for w in some]
    assert facts == [(5, (5, 5)), (7, (5, 6)), (8, (6, 7)), (8, (7, 8))]
    assert [(spans([w]), w.closed_by) for w in operator.end_stream("s", 99)] == [([(3, 5)], 99)]
    assert operator.end_stream("s", 99) == [] and operator.snapshot("s") is None


def test_windows_come_in_order_of_start_then_birth() -> None:
    closed = run_windows(ScriptedFaces(always, always), windows(), stream(4).cut())
    assert [(w.start_us, w.birth_index) for w in closed] == sorted((w.start_us, w.birth_index) for w in closed)
    assert {w.birth_index for w in closed} == {0, 1}


def test_streams_do_not_mix() -> None:
    operator, segments = windows(), stream(4).cut([50])
    for name in ("a", "b"):
        faces = ScriptedFaces(always)
        operator.add(name, 0, segments[0], faces.track(name, 0, segments[0]))
    assert [(w.stream_id, w.start_us) for w in operator.end_stream("a", 1)] == [("a", EVEN_US + SECOND)]
    assert operator.snapshot("b") is not None


# --- what is in them ---


def test_the_frames_are_those_at_the_middles_of_16_equal_segments() -> None:
    first = run_windows(ScriptedFaces(always), windows(), stream(2).cut())[1]
    middles = [EVEN_US + (2 * i + 1) * 2 * SECOND // 32 for i in range(16)]
    shown = [(middle - EVEN_US) * 25 // SECOND for middle in middles]
    assert first.frames.shape == (16, 16, 16, 3) and first.frames.dtype == np.uint8
    assert [int(frame[8, 8, 0]) for frame in first.frames] == shown
    assert first.present.dtype == np.bool_ and first.present.all()


def test_at_a_low_sampling_rate_a_segment_shows_the_latest_sample_even_from_before_the_window() -> None:
    closed = run_windows(
        ScriptedFaces(always, period_us=250_000), windows(250_000), stream(4, period_us=250_000).cut([25, 50])
    )
    start = 25
    samples_ms = [-125, *(125 + 250 * (i // 2) for i in range(15))]
    window = closed[1]
    assert window.start_us == EVEN_US + SECOND and window.present.all()
    assert [int(frame[8, 8, 0]) for frame in window.frames] == [start + ms * 25 // 1000 for ms in samples_ms]


def test_a_segment_without_the_face_repeats_the_nearest_earlier_one_else_the_first() -> None:
    base = EVEN_US // PERIOD_US
    there = {3, 4, 5, 8, 9, 10, 11, 15}
    closed = run_windows(ScriptedFaces(lambda n: n - base in there), windows(), stream(2).cut())
    window = closed[-1]
    shown = [(2 * i + 1) * 25 * 2 // 32 for i in (3, 3, 3, 3, 4, 5, 5, 5, 8, 9, 10, 11, 11, 11, 11, 15)]
    assert window.start_us == EVEN_US
    assert [int(frame[8, 8, 0]) for frame in window.frames] == shown
    assert set(np.flatnonzero(window.present)) == there


def test_score_and_height_are_means_over_the_segments_with_the_face() -> None:
    (window,) = run_windows(ScriptedFaces(always), windows(hop_s=2.0), stream(2).cut())
    assert (window.face_score, window.face_height_px) == pytest.approx((0.9, 50.0))


def test_the_sound_is_the_windows_own_to_the_sample() -> None:
    source = stream(4)
    closed = run_windows(ScriptedFaces(always), windows(), source.cut([13, 40, 77]))
    assert source.sound is not None
    for window in closed[1:4]:
        first = (window.start_us - EVEN_US) * source.rate // SECOND
        assert np.array_equal(window.fbank, log_mel(source.sound[first : first + 32_000], source.rate))
        assert window.audio_present


def test_without_sound_the_filter_bank_is_the_constant() -> None:
    closed = run_windows(ScriptedFaces(always), windows(), stream(2, sound=None).cut())
    assert np.array_equal(closed[1].fbank, missing_sound()) and not closed[1].audio_present


def test_half_of_the_sound_is_enough_and_what_is_missing_is_silence() -> None:
    source = stream(4)
    segments = source.cut([50, 75])
    segments[1].sound = None
    closed = run_windows(ScriptedFaces(always), windows(), segments)
    assert source.sound is not None
    assert [(s, w.audio_present) for s, w in zip(spans(closed), closed, strict=True)] == [
        ((-1, 1), True), ((0, 2), True), ((1, 3), True), ((2, 4), True), ((3, 5), True),
    ]  # fmt: skip
    half = np.concatenate([source.sound[16_000:32_000], np.zeros(16_000, np.float32)])
    assert np.array_equal(closed[2].fbank, log_mel(half, source.rate))
    segments[2].sound = None
    assert [w.audio_present for w in run_windows(ScriptedFaces(always), windows(), segments)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_pieces_on_clocks_of_their_own_join_when_they_nearly_meet() -> None:
    source = stream(4)
    wanted = run_windows(ScriptedFaces(always), windows(), source.cut())
    jittered = source.cut([25, 50, 75])
    for segment, shift_us in zip(jittered, (0, 9_000, -12_000, 19_000), strict=True):
        sound = segment.sound
        assert sound is not None
        segment.sound = Sound(
            sound.origin_us + shift_us + sound.first_sample * SECOND // sound.rate, 0, sound.rate, sound.waveform
        )
    assert_same_windows(run_windows(ScriptedFaces(always), windows(), jittered), wanted)


def test_a_gap_in_a_producers_sound_stays_a_gap() -> None:
    source = stream(2)
    segments = source.cut([25])
    late = segments[1].sound
    assert late is not None and source.sound is not None
    segments[1].sound = Sound(EVEN_US + 1_100_000, 0, 16_000, late.waveform[1600:])
    closed = run_windows(ScriptedFaces(always), windows(), segments)
    wanted = source.sound.copy()
    wanted[16_000:17_600] = 0
    assert np.array_equal(closed[1].fbank, log_mel(wanted, 16_000))


def test_a_new_sampling_rate_begins_the_sound_anew() -> None:
    segments = stream(4).cut([50])
    other = noise(100, rate=8_000)
    segments[1].sound = Sound(EVEN_US, 16_000, 8_000, other[16_000:])
    closed = run_windows(ScriptedFaces(always), windows(), segments)
    assert np.array_equal(closed[3].fbank, log_mel(other[16_000:32_000], 8_000))
    half = np.concatenate([np.zeros(8_000, np.float32), other[16_000:24_000]])
    assert np.array_equal(closed[2].fbank, log_mel(half, 8_000))


# --- missing chunks ---


def test_windows_across_a_missing_chunk_live_if_half_of_them_is_there() -> None:
    segments = stream(8).cut([50, 100, 150])
    del segments[1]
    closed = run_windows(ScriptedFaces(always), windows(), segments)
    assert spans(closed) == [(-1, 1), (0, 2), (1, 3), (3, 5), (4, 6), (5, 7), (6, 8), (7, 9)]
    assert [int(w.present.sum()) for w in closed] == [8, 16, 8, 8, 16, 16, 16, 8]


def test_a_pause_of_a_day_makes_no_windows() -> None:
    before, after = stream(2).cut()[0], stream(2, start_us=EVEN_US + 86_400 * SECOND).cut()[0]
    after.sound = None
    closed = run_windows(ScriptedFaces(always), windows(), [before, after])
    assert spans(closed) == [(s, s + 2) for s in (-1, 0, 1, 86_399, 86_400, 86_401)]


# --- the law of cuts, and the law of restarts ---

cuts = st.lists(st.integers(1, 149), max_size=8)
presence = st.lists(st.booleans(), min_size=50, max_size=50)
configs = st.sampled_from(
    [
        ({"length_s": 2.0, "hop_s": 1.0}, PERIOD_US),
        ({"length_s": 2.0, "hop_s": 1.0}, 250_000),
        ({"length_s": 1.5, "hop_s": 0.7}, PERIOD_US),
        ({"length_s": 4.0, "hop_s": 1.0}, PERIOD_US),
        ({"length_s": 1.0, "hop_s": 0.25}, 100_000),
    ]
)


def _scripted(seen: Sequence[Sequence[bool]], period_us: int) -> ScriptedFaces:
    return ScriptedFaces(*(lambda n, s=s: s[n % len(s)] or n % 3 > 0 for s in seen), period_us=period_us)


@settings(max_examples=25, deadline=None)
@given(cuts, st.integers(0, 6), configs, st.lists(presence, min_size=1, max_size=2))
def test_however_a_stream_is_cut_its_windows_are_the_same(
    borders: list[int], overlap: int, config: tuple[dict[str, float], int], seen: list[list[bool]]
) -> None:
    sizes, period_us = config
    source = stream(6, start_us=Stream.start_us, period_us=period_us)
    wanted = run_windows(_scripted(seen, period_us), windows(period_us, **sizes), source.cut())
    got = run_windows(_scripted(seen, period_us), windows(period_us, **sizes), source.cut(borders, overlap))
    assert_same_windows(got, wanted)


@settings(max_examples=25, deadline=None)
@given(cuts, st.integers(0, 6), configs, presence)
def test_a_restart_at_any_border_is_not_seen_in_what_follows(
    borders: list[int], overlap: int, config: tuple[dict[str, float], int], seen: list[bool]
) -> None:
    sizes, period_us = config
    segments = stream(6, start_us=Stream.start_us, period_us=period_us).cut(borders, overlap)
    faces, operator = _scripted([seen], period_us), windows(period_us, **sizes)
    restarted_faces, restarted = _scripted([seen], period_us), windows(period_us, **sizes)
    for offset, segment in enumerate(segments):
        tracked = faces.track("s", offset, segment)
        tracked_again = restarted_faces.track("s", offset, segment)
        assert comparable(tracked_again) == comparable(tracked)
        wanted = operator.add("s", offset, segment, tracked)
        assert_same_windows(restarted.add("s", offset, segment, tracked_again), wanted)

        snapshots = through_json(restarted_faces.snapshot("s")), through_json(restarted.snapshot("s"))
        restarted_faces, restarted = _scripted([seen], period_us), windows(period_us, **sizes)
        restarted_faces.restore("s", snapshots[0])
        needed = restarted.offsets_needed(snapshots[1])
        assert needed == sorted(set(needed))
        again: Mapping[int, Segment | None] = {n: segments[n] for n in needed}
        assert restarted.restore("s", snapshots[1], again) == 0
    assert_same_windows(restarted.end_stream("s", 99), operator.end_stream("s", 99))


def half_way(sound: bool = True) -> tuple[Windows, ScriptedFaces, list[Segment], Snapshot]:
    """After 2.5 s of 5 in half-second chunks: the windows from 1 s and 2 s are open."""
    changes: dict[str, Any] = {} if sound else {"sound": None}
    segments = stream(5, **changes).cut([12, 25, 37, 50, 62, 75, 87, 100, 112])
    operator, faces = windows(), ScriptedFaces(always)
    for offset, segment in enumerate(segments[:5]):
        operator.add("s", offset, segment, faces.track("s", offset, segment))
    return operator, faces, segments, through_json(operator.snapshot("s"))


def test_only_chunks_of_open_windows_are_read_again() -> None:
    operator, _, _, snapshot = half_way()
    assert operator.offsets_needed(snapshot) == [2, 3, 4]


def test_windows_that_need_a_chunk_that_is_gone_are_lost_counted_and_never_come() -> None:
    operator, faces, segments, snapshot = half_way()
    needed = operator.offsets_needed(snapshot)
    again = windows()
    assert again.restore("s", snapshot, {n: None if n == 3 else segments[n] for n in needed}) == 1
    kept = through_json(again.snapshot("s"))
    assert again.restore("s", kept, {n: segments[n] for n in again.offsets_needed(kept)}) == 0
    closed = []
    for offset, segment in enumerate(segments[5:], 5):
        closed += again.add("s", offset, segment, faces.track("s", offset, segment))
    assert spans(closed) == [(2, 4), (3, 5)]
    assert [track["lost_starts"] for track in through_json(again.snapshot("s"))["tracks"]] == [[]]


def test_when_all_is_gone_every_open_window_is_lost() -> None:
    operator, _, _, snapshot = half_way()
    again = windows()
    assert again.restore("s", snapshot, dict.fromkeys(operator.offsets_needed(snapshot))) == 2
    assert again.end_stream("s", 9) == []


def test_sound_that_is_gone_is_missing_sound_and_loses_nothing() -> None:
    operator, faces, segments, snapshot = half_way()
    silent = {n: segments[n] for n in operator.offsets_needed(snapshot)}
    for segment in silent.values():
        segment.sound = None
    again = windows()
    assert again.restore("s", snapshot, silent) == 0
    closed = []
    for offset, segment in enumerate(segments[5:], 5):
        closed += again.add("s", offset, segment, faces.track("s", offset, segment))
    assert [(s, w.audio_present) for s, w in zip(spans(closed), closed, strict=True)] == [
        ((1, 3), False), ((2, 4), True), ((3, 5), True),
    ]  # fmt: skip


def test_a_snapshot_holds_numbers_only_and_is_small() -> None:
    _, _, _, snapshot = half_way()

    def leaves(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]

    assert all(isinstance(leaf, (int, float)) for leaf in leaves(snapshot))
    samples = snapshot["tracks"][0]["samples"]
    assert len(samples) == 12 and len(leaves(snapshot)) < 20 + 10 * len(samples)


def test_no_crop_is_held_that_no_open_window_needs() -> None:
    operator = windows()
    segment = stream(60, sound=None).cut()[0]
    operator.add("s", 0, segment, ScriptedFaces(always).track("s", 0, segment))
    snapshot = operator.snapshot("s")
    assert snapshot is not None and len(snapshot["tracks"][0]["samples"]) == 8


# --- the configuration ---


@pytest.mark.parametrize(
    "wrong", [{"hop_s": 3.0}, {"length_s": 0}, {"hop_s": 0}, {"idle_s": 0}, {"crop_px": 1}, {"length": 2}]
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WindowsConfig(**wrong)
