"""The consent table: who has agreed, by stream and time, beside the chunks' own headers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamfx.errors import BadChunk, PrivacyRefusal
from streamfx.privacy.consent import ConsentFile
from streamfx.privacy.rows import Rows
from streamfx.testing import START_US, make_chunk, make_privacy, make_pseudonyms

HEADER = "stream,consent,from,until\n"
HOUR_US = 3_600_000_000


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "consent.csv"


def write(table: Path, *lines: str) -> None:
    """A new table in the place of the old one, as a careful writer does it."""
    beside = table.with_suffix(".new")
    beside.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    os.replace(beside, table)


def rows(table: Path, required: bool = False) -> Rows:
    privacy = make_privacy(consent_file=table, consent_required=required)
    return Rows(privacy, make_pseudonyms(), "c1", consents=ConsentFile(table))


def refused(made: Rows, consent: str | None = None, start_us: int = START_US, stream_id: str = "cam") -> str | None:
    """The reason for which a chunk is refused; None where it is not."""
    try:
        made.check_consent(make_chunk(0, stream_id=stream_id, start_us=start_us, consent=consent))
    except BadChunk as bad:
        assert bad.fate == "refused"
        return bad.reason
    return None


@pytest.mark.parametrize(
    ("header", "line", "required", "reason"),
    [
        (None, None, False, None),
        (None, None, True, "consent_missing"),
        (None, "granted", True, None),
        (None, "refused", False, "consent_refused"),
        ("granted", "refused", False, "consent_refused"),
        ("refused", "granted", False, "consent_refused"),
        ("granted", None, True, None),
    ],
)
def test_the_stricter_of_header_and_table_decides(
    table: Path, header: str | None, line: str | None, required: bool, reason: str | None
) -> None:
    write(table, *([f"cam,{line},,"] if line else []), "other,refused,,")
    assert refused(rows(table, required), header) == reason


def test_a_withdrawal_holds_for_the_next_chunk_without_a_restart(table: Path) -> None:
    write(table, "cam,granted,,")
    made = rows(table)
    assert refused(made) is None
    write(table, "cam,granted,,", "cam,refused,,")
    assert refused(made) == "consent_refused" and refused(made, stream_id="other") is None
    write(table, "cam,granted,,", "cam,refused,,", "cam,granted,,")
    assert refused(made) is None


def test_a_line_holds_from_its_first_time_to_before_its_last(table: Path) -> None:
    write(table, "cam,refused,2026-01-01T00:00:00Z,2026-01-01T02:00:00+01:00")
    start_us, made = 1_767_225_600_000_000, rows(table)
    assert [refused(made, start_us=start_us + at) for at in (-1, 0, HOUR_US - 1, HOUR_US)] == [
        None, "consent_refused", "consent_refused", None,
    ]  # fmt: skip


def test_a_table_that_a_spreadsheet_saved_is_read(table: Path) -> None:
    table.write_bytes(b"\xef\xbb\xbf" + (HEADER + "cam,refused,,\n").replace("\n", "\r\n").encode())
    assert refused(rows(table)) == "consent_refused"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected the header stream,consent,from,until, got nothing"),
        ("stream,consent\ncam,granted\n", "expected the header"),
        (HEADER + "cam,maybe,,\n", "line 2: consent: expected granted or refused"),
        (HEADER + "cam,granted,,\ncam,granted\n", "line 3: expected stream, consent, from, until"),
        (HEADER + ",granted,,\n", "line 2: expected"),
        (HEADER + "cam ,refused,,\n", "line 2: stream: expected a raw stream id, got one with a space around it"),
        (HEADER + "cam,granted,yesterday,\n", "line 2: expected a time such as"),
        (HEADER + "cam,granted,2026-01-02,2026-01-01\n", "line 2: expected `until` after `from`"),
    ],
)
def test_a_table_that_cannot_be_understood_lets_nothing_pass(table: Path, text: str, said: str) -> None:
    table.write_text(text)
    with pytest.raises(PrivacyRefusal, match=said):
        rows(table)


def test_a_table_that_goes_away_or_breaks_during_a_run_lets_nothing_pass(table: Path) -> None:
    write(table, "cam,granted,,")
    made = rows(table)
    table.unlink()
    with pytest.raises(PrivacyRefusal, match=r"privacy.consent_file: cannot read .*consent.csv: No such file"):
        refused(made)
    table.write_bytes(b"\xff\xfe")
    with pytest.raises(PrivacyRefusal, match="not UTF-8"):
        refused(made)
    write(table, "cam,granted,,")
    assert refused(made) is None


def test_what_is_withdrawn_is_what_the_last_lines_call_refused_up_to_now(table: Path) -> None:
    write(
        table,
        "cam,refused,1970-01-01T00:00:10,1970-01-01T00:00:30",
        "cam,granted,1970-01-01T00:00:20,1970-01-01T00:00:25",
        "all,refused,,",
        "later,refused,1970-01-01T00:02:00,",
        "back,refused,,",
        "back,granted,,",
    )
    assert ConsentFile(table).withdrawn(60_000_000) == [
        ("cam", 10_000_000, 20_000_000), ("cam", 25_000_000, 30_000_000), ("all", None, 60_000_000),
    ]  # fmt: skip
