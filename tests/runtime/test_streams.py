"""A partition's state of its streams: duplicates, late chunks, gaps, restarted numbers, and no raw ids."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfx.config.privacy import PrivacySection
from streamfx.errors import BadChunk
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.records import Chunk, Partition
from streamfx.runtime.streams import REMEMBERED_ENDED, REMEMBERED_MISSING, StreamBook

PSEUDONYMS = Pseudonyms(PrivacySection(purpose="p", deployment_context="research").salt_period_s, b"k" * 32)
SECOND = 1_000_000


def chunk(seq: int, start_s: float, stream: str = "alice", append_s: float = 0) -> Chunk:
    return Chunk(
        Partition("t", "id", 0),
        0,
        round(append_s * 1000),
        stream,
        seq,
        round(start_s * SECOND),
        "video/mp4",
        None,
        None,
        False,
        b"",
    )


def feed(
    book: StreamBook, seq: int, start_s: float, length_s: float = 1, stream: str = "alice", append_s: float = 0
) -> int:
    """Judge a chunk and accept it; return how many numbers it skipped."""
    book.recognise(stream)
    one = chunk(seq, start_s, stream, append_s)
    skipped = book.judge(one)
    state = book.saw(one)
    state.advance(round((start_s + length_s) * SECOND))
    return skipped


def fate(book: StreamBook, seq: int, start_s: float) -> str:
    with pytest.raises(BadChunk) as caught:
        book.judge(chunk(seq, start_s))
    return f"{caught.value.fate}: {caught.value.reason}"


def again(book: StreamBook) -> StreamBook:
    """The book after a restart: stored and loaded as JSON, with all streams unnamed."""
    fresh = StreamBook(PSEUDONYMS)
    list(fresh.restore(json.loads(json.dumps(book.snapshot({})))))
    return fresh


def test_chunks_in_order_are_accepted() -> None:
    book = StreamBook(PSEUDONYMS)
    assert [feed(book, n, n) for n in range(4)] == [0, 0, 0, 0]


def test_a_chunk_sent_twice_is_a_duplicate() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0)
    feed(book, 1, 1)
    assert fate(book, 1, 1) == "duplicate: duplicate"


def test_skipped_numbers_are_counted_and_are_late_when_they_arrive() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0)
    assert feed(book, 3, 3) == 2
    assert fate(book, 2, 2) == "lost: late"
    assert fate(book, 3, 3) == "duplicate: duplicate"


def test_a_stream_joined_in_the_middle_misses_nothing() -> None:
    assert feed(StreamBook(PSEUDONYMS), 500, 500) == 0


def test_a_stream_whose_producer_restarts_its_numbers_continues() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 40, 40)
    assert feed(book, 0, 60) == 0
    assert feed(book, 1, 61) == 0


def test_a_stream_sent_again_after_its_end_is_a_duplicate() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0)
    feed(book, 1, 1)
    book.end("alice")
    assert fate(book, 0, 0) == fate(book, 1, 1) == "duplicate: duplicate"
    assert feed(book, 2, 2) == 0


def test_an_idle_stream_is_named_by_the_append_times_that_pass_it() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0, stream="alice", append_s=0)
    feed(book, 0, 0, stream="bob", append_s=20)
    assert book.idle(29_000, 30) == []
    assert book.idle(30_001, 30) == ["alice"]


def test_an_unnamed_idle_stream_ends_too() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0)
    book = again(book)
    assert book.idle(60_000, 30) == []
    assert book.recognise("alice") is None
    assert fate(book, 0, 0) == "duplicate: duplicate"


def test_no_raw_id_is_in_a_snapshot() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0, stream="alice")
    feed(book, 0, 0, stream="bob")
    book.end("bob")
    text = json.dumps(book.snapshot({"alice": {"windows": {}}}))
    assert "alice" not in text and "bob" not in text


def test_the_remembered_state_is_bounded() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0, stream="gaps")
    feed(book, 10_000, 1, stream="gaps")
    assert len(book.live["gaps"].missing) == REMEMBERED_MISSING
    for n in range(REMEMBERED_ENDED + 50):
        feed(book, 0, n, stream=f"s{n}")
        book.end(f"s{n}")
    assert len(book.snapshot({})["ended"]) == REMEMBERED_ENDED


MOVES = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 6), st.booleans()), max_size=25)


@given(MOVES, st.integers(0, 25))
def test_a_restart_anywhere_changes_no_decision(moves: list[tuple[str, int, bool]], restart: int) -> None:
    def decisions(restart_at: int | None) -> list[str]:
        book, said = StreamBook(PSEUDONYMS), []
        for i, (stream, seq, end) in enumerate(moves):
            if i == restart_at:
                book = again(book)
            try:
                said.append(str(feed(book, seq, seq, stream=stream)))
            except BadChunk as bad:
                said.append(bad.reason)
                continue
            if end:
                book.end(stream)
        return said

    assert decisions(restart) == decisions(None)


def test_a_stream_keeps_its_state_over_a_change_of_salt_period() -> None:
    day_s = 86_400
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, day_s - 1.5)
    before = book.snapshot({})["streams"][0]
    feed(book, 1, day_s - 0.5)
    after = book.snapshot({})["streams"][0]
    assert before["stream"] != after["stream"]
    assert fate(again_named(book), 1, day_s - 0.5) == "duplicate: duplicate"


def again_named(book: StreamBook) -> StreamBook:
    fresh = again(book)
    assert fresh.recognise("alice") is not None
    return fresh


def test_numbers_skipped_across_an_end_are_counted() -> None:
    book = StreamBook(PSEUDONYMS)
    feed(book, 0, 0)
    book.end("alice")
    assert feed(again(book), 4, 9) == 3
    assert feed(book, 4, 9) == 3
    book.end("alice")
    assert feed(book, 0, 60) == 0
