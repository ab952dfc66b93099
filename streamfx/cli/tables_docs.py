"""Prints docs/tables.md from the list of core columns, so that the page cannot lie."""

from __future__ import annotations

from collections.abc import Sequence

from streamfx.columns import (
    AGGREGATES_COLUMNS,
    CHUNKS_COLUMNS,
    EPISODES_COLUMNS,
    FILMS_COLUMNS,
    StoredColumn,
    windows_columns,
)

INTRO = """# The tables

`make docs` makes this page from the list of columns in `streamfx/columns.py`, and a test compares the two.
[querying.md](querying.md) has queries. The footer of each file describes its columns in the same words
(`streamfx.columns`).

`string` is UTF-8 text. `instant` is a moment in microseconds of UTC (Parquet
`TIMESTAMP(isAdjustedToUTC=true, MICROS)`). `int32`, `int64` and `float` (64 bits) are numbers, and `bool` is true or
false. A column may be null only if the table says so.
"""
WINDOWS = """
## windows

One row for each face track and window of event time. Its key is `stream_id`, `track_id`, `window_start`, `config_id`.

Between `audio_present` and `config_id` are the columns that the pipeline's operators declare, in the order of the
pipeline, and then one column `<operator>_model_version` for each operator that has a model. The operator `expression`,
which comes with streamfx, declares `p_<label>` for each expression that its model knows, `expression`,
`expression_confidence`, and, for a model that tells it, `expression_novelty`: how far the face is from all that the
model knows, from 0 to 1. The shipped model `expression-faces` tells it; `expression-small` and imported checkpoints do
not.

"""
FILMS = """
## films

One row for each redacted film, which shows one chunk; only where `redact.films` is on. Its key is `topic`, `partition`,
`offset`. `file` names the film, below the dataset's folder.

"""
CHUNKS = """
## chunks

One row for each input offset. Its key is `topic`, `partition`, `offset`.

"""
AGGREGATES = """
## aggregates

One row for each published cell of a time bin; only `streamfx aggregate` writes it ([aggregates.md](aggregates.md)). Its
key is `bin_start`, `bin_end`, `stream_group`, `measure`, `value`. A cell that has no row is empty or hidden.

"""
EPISODES = """
## episodes

One row for each stretch of time in which a track's measure shows one thing; only `streamfx episodes` writes it
([episodes.md](episodes.md)). Its key is `stream_id`, `track_id`, `measure`, `episode_start`, `config_id`.

"""


def page() -> str:
    """The whole page as Markdown."""
    tables = (
        (WINDOWS, windows_columns((), ["<operator>"])),
        (CHUNKS, CHUNKS_COLUMNS),
        (FILMS, FILMS_COLUMNS),
        (AGGREGATES, AGGREGATES_COLUMNS),
        (EPISODES, EPISODES_COLUMNS),
    )
    return INTRO + "".join(words + _table(columns) for words, columns in tables)


def _table(columns: Sequence[StoredColumn]) -> str:
    lines = ["| column | kind | null | meaning |", "|---|---|---|---|"]
    for column in columns:
        words = f": {', '.join(f'`{word}`' for word in column.values)}" if column.values else ""
        null = "may be" if column.nullable else ""
        meaning = column.description.replace("<", r"\<") + words
        lines.append(f"| `{column.name}` | {column.kind} | {null} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
