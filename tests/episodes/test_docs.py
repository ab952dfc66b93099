"""The queries of docs/episodes.md return rows."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
from helpers.tracks import Track, order, write

from streamfx.episodes.table import update

PAGE = (Path(__file__).parents[2] / "docs" / "episodes.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_has_its_queries() -> None:
    assert len(QUERIES) == 5


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_each_query_of_the_page_returns_rows(place: Path, number: int) -> None:
    write(place, [Track("nnhhhaaan", smiles=[0, 0, 2, 3, 3, 2, None, 0, 0])])
    update(order(place))
    assert duckdb.sql(QUERIES[number].replace("out/demo/dataset", str(place)).rstrip().rstrip(";")).fetchall()
