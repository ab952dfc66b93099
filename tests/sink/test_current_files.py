"""What is read while others replace files is read again, and a file that stays away is called damaged."""

from __future__ import annotations

import pytest

from streamfx.errors import SinkError
from streamfx.sink.current_files import FileReplaced, look_again


@pytest.mark.parametrize("replaced", [0, 1, 9])
def test_it_is_read_again_from_a_new_list_until_no_file_is_replaced_meanwhile(replaced: int) -> None:
    listed = 0

    def read() -> str:
        if listed < replaced:
            raise FileReplaced("windows/a.parquet")
        return "rows"

    def list_anew() -> None:
        nonlocal listed
        listed += 1

    assert look_again("/data/calls", read, list_anew) == "rows"
    assert listed == replaced


def test_a_file_that_stays_away_is_named_as_damaged() -> None:
    def read() -> None:
        raise FileReplaced("windows/a.parquet")

    with pytest.raises(SinkError, match=r"^/data/calls: windows/a.parquet is gone or damaged; see `streamfx verify`"):
        look_again("/data/calls", read)


def test_a_storage_that_fails_is_not_asked_again() -> None:
    asked = 0

    def read() -> None:
        nonlocal asked
        asked += 1
        raise OSError(5, "Input/output error")

    with pytest.raises(SinkError, match="/data/calls: cannot read the dataset: Input/output error"):
        look_again("/data/calls", read)
    assert asked == 1
