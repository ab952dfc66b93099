"""Tracks and masks: a face is filled between sightings, before the first and after the last, the more the faster."""

from __future__ import annotations

from fractions import Fraction

from streamfx.privacy.pictures import Region
from streamfx.redaction.masks import HOLD_S, HOLD_SMALL_S, Masks
from streamfx.redaction.sightings import Sightings
from streamfx.redaction.tracks import LOST_S, SURE, Track, link

Box = tuple[float, float, float, float]
TICKS = Fraction(1, 10)


def seen(*sightings: tuple[int, Box, float]) -> Sightings:
    """(tick, box, confidence), in the order of ticks; ticks are tenths of a second and frames."""
    found = Sightings()
    found.ticks.extend(range(200))
    for tick, box, score in sightings:
        found.frames.append(tick)
        found.boxes.extend(box)
        found.scores.append(score)
    return found


def box_at(x: float, side: float = 60) -> Box:
    return x, 100.0, x + side, 100.0 + side


def covers(region: Region, box: Box) -> bool:
    return region[0] <= box[0] and region[1] <= box[1] and region[2] >= box[2] and region[3] >= box[3]


def masks(tracks: list[Track], *times_s: float) -> list[list[Region]]:
    return list(Masks(tracks, 416, 234).at(times_s))


def test_a_face_is_followed_through_a_gap_and_filled_on_its_way() -> None:
    (track,) = link(seen((0, box_at(0), 0.9), (1, box_at(10), 0.9), (11, box_at(110), 0.9)), TICKS)
    for time_s, (region,) in zip((0.3, 0.6, 0.9), masks([track], 0.3, 0.6, 0.9), strict=True):
        assert covers(region, box_at(100 * time_s))


def test_two_faces_that_pass_are_two_tracks_by_their_motion() -> None:
    there = [(tick, box_at(20 * tick), 0.9) for tick in range(20)]
    back = [(tick, (400 - 20 * tick, 180.0, 460 - 20 * tick, 240.0), 0.9) for tick in range(20)]
    assert len(link(seen(*sorted(there + back)), TICKS)) == 2


def test_a_face_that_comes_back_late_is_another_track() -> None:
    late = round(LOST_S * 10) + 2
    assert len(link(seen((0, box_at(0), 0.9), (late, box_at(0), 0.9)), TICKS)) == 2


def test_a_track_counts_from_one_sure_sighting_and_keeps_the_unsure_ones() -> None:
    unsure = SURE - 0.04
    (track,) = link(seen((0, box_at(0), unsure), (1, box_at(5), SURE + 0.1), (2, box_at(10), unsure)), TICKS)
    assert len(track.times_s) == 3
    assert link(seen((0, box_at(0), unsure), (1, box_at(5), unsure)), TICKS) == []


def test_a_face_is_held_before_and_after_where_it_was_and_where_it_may_have_gone() -> None:
    (track,) = link(seen((20, box_at(100), 0.9), (21, box_at(110), 0.9), (22, box_at(120), 0.9)), TICKS)
    before, after, gone = masks([track], 2.0 - HOLD_S / 2, 2.2 + HOLD_S / 2, 2.2 + HOLD_S + 0.1)
    assert covers(before[0], box_at(100)) and covers(before[0], box_at(100 - 100 * HOLD_S / 2))
    assert covers(after[0], box_at(120)) and covers(after[0], box_at(120 + 100 * HOLD_S / 2))
    assert gone == []


def test_a_small_face_is_held_until_the_next_enlarged_look() -> None:
    small, large = seen((20, box_at(100, side=12), 0.9)), seen((20, box_at(100, side=60), 0.9))
    time_s = 2.0 + (HOLD_S + HOLD_SMALL_S) / 2
    assert len(masks(link(small, TICKS), time_s)[0]) == 1 and masks(link(large, TICKS), time_s)[0] == []


def test_a_region_grows_with_the_speed_of_the_face() -> None:
    def widths(step: float) -> float:
        (track,) = link(seen(*((tick, box_at(step * tick), 0.9) for tick in range(0, 20, 2))), TICKS)
        ((region,),) = masks([track], 0.9)
        return region[2] - region[0]

    assert widths(0) < widths(5) < widths(12)


def test_a_single_small_box_among_larger_ones_does_not_uncover_the_face() -> None:
    found = [(tick, box_at(100, side=60), 0.9) for tick in range(5)]
    found[2] = (2, (115.0, 115.0, 145.0, 145.0), 0.9)
    ((region,),) = masks(link(seen(*found), TICKS), 0.2)
    assert covers(region, box_at(100, side=60))
