"""What the report counts of windows: each moment of each face once, by stream, track and version."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.crowds import DAY_US, START_US, Seen, crowd, write

from streamfx.records import MICROSECONDS
from streamfx.report import faces as room
from streamfx.report.faces import Channels, Faces
from streamfx.sink.fs import LocalFileSystem
from streamfx.sink.read_windows import WindowReader, declared_columns


def counted(place: Path) -> Faces:
    fs = LocalFileSystem(place)
    faces = Faces(Channels.of(declared_columns(fs, str(place))))
    reader = WindowReader(fs, str(place))
    for day, partition in reader.parts():
        faces.add(reader.read(day, faces.channels.columns, partition))
    return faces


def test_overlapping_windows_count_each_moment_once(place: Path) -> None:
    write(place, [Seen(1, "anger", seconds=6), Seen(2, "happiness", seconds=3)])
    faces = counted(place)
    assert faces.windows == 5 + 2 and faces.whole.total[0] == 9.0
    assert faces.channels.share(faces.whole.total, "anger") == pytest.approx(6 / 9)
    assert (faces.first_us, faces.last_us) == (START_US, START_US + 6 * MICROSECONDS)
    assert faces.whole.sums[:, 0].tolist() == [2, 2, 2, 1, 1, 1], "two faces at once, then one"


def test_a_gap_within_a_track_is_not_filled(place: Path) -> None:
    write(place, [Seen(1, seconds=2)])
    later = Seen(1, seconds=2, start_us=START_US)
    write(place, [later], offset=1)
    assert counted(place).whole.total[0] == 2.0, "the same window twice counts once"


def test_a_window_at_an_edge_counts_for_what_the_face_was_seen_in() -> None:
    start = np.array([0, 1, 2, 10, 20], np.int64) * MICROSECONDS
    track, seen = np.array([0, 0, 0, 0, 1]), np.array([0.75, 1.0, 0.5, 1.0, 0.5])
    begin, until = room._spoken_for(track, start, start + 2 * MICROSECONDS, seen)
    assert (begin / MICROSECONDS).tolist() == [0.5, 1, 2, 10, 20.5], "a face that is seen later begins later"
    assert (until / MICROSECONDS).tolist() == [1, 2, 3, 12, 21.5], "one that is alone is in the middle"


def test_a_track_of_a_short_film_counts_about_as_long_as_the_film() -> None:
    """Windows start at whole seconds, and so the outer ones reach beyond a face that is seen from 0.5 to 3.25 s."""
    start = np.array([-1, 0, 1, 2], np.int64) * MICROSECONDS
    seen = [min(1.0, (min(3.25, at + 2) - max(0.5, at)) / 2) for at in (-1, 0, 1, 2)]
    shown = np.array([share >= 0.5 for share in seen])
    begin, until = room._spoken_for(
        np.zeros(shown.sum(), np.int64), start[shown], start[shown] + 2 * MICROSECONDS, np.array(seen)[shown]
    )
    assert (until - begin).sum() / MICROSECONDS == pytest.approx(3.25 - 0.5, abs=0.5)


def test_nothing_counts_beyond_its_day(place: Path) -> None:
    write(place, [Seen(1, seconds=2, start_us=START_US + DAY_US - MICROSECONDS)])
    assert counted(place).whole.total[0] == 1.0


def test_a_null_is_left_out_and_not_counted_as_nought(place: Path) -> None:
    write(place, [Seen(1, smile=3.0, seconds=2), Seen(2, smile=None, seconds=2), Seen(3, smile=0.0, seconds=2)])
    faces = counted(place)
    mean = partial(faces.channels.mean, faces.whole.total)
    assert mean("au_12") == 1.5 and mean("au_12_present") == 0.5 and mean("au_45") == 2.0


def test_tracks_and_streams_have_their_own_sums(place: Path) -> None:
    write(place, [*crowd(range(3), "anger", seconds=4), Seen(1, "neutral", seconds=8, stream="door")])
    faces = counted(place)
    keys, sums = faces.by_track()
    assert len(keys) == 4 and sorted(sums[:, 0].tolist()) == [4, 4, 4, 8]
    assert [series.total[0] for _, series in faces.streams.best()] == [12.0, 8.0]
    (longest, series), *_ = faces.tracks_shown.best()
    assert series.total[0] == 8.0 and longest in set(keys["track"])


def test_only_the_longest_tracks_have_a_series_and_none_lacks_its_beginning(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "TRACKS", 2)
    write(place, [Seen(1, seconds=9), Seen(2, seconds=8), Seen(3, seconds=3)])
    faces = counted(place)
    faces.tracks_shown.keep = 2
    assert [series.total[0] for _, series in faces.tracks_shown.best()] == [9.0, 8.0]
    assert faces.whole.total[0] == 20.0


def test_a_dataset_without_expressions_or_units_is_counted_too() -> None:
    channels = Channels.of({"stream_id": (), "attr_smile": ()})
    assert channels.expressions == () and channels.units == () and channels.numbers == room.QUALITY
    assert np.isnan(channels.mean(np.zeros(channels.width), "frames"))
