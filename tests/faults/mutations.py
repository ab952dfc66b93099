"""Breaks each rule of the commit protocol, and promises of docs/privacy.md, once, and runs the test that must notice:
`python tests/faults/mutations.py`.


A mutation is a change of text in a copy of the package. Its text must occur exactly once, so that it cannot become
stale. Prints a table, and exits with 1 where a broken rule was not noticed. Rules about Kafka need a broker; without
one they are left out, which the table says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[2]
CASES = "tests/sink/test_crash_points.py::test_each_row_exists_once_whichever_process_dies_at_any_point"
TWO, KEPT = f"{CASES}[two writers]", f"{CASES}[two writers, compaction, erasure]"
COMMIT, DATASET, FS = "tests/sink/test_commit.py", "tests/sink/test_dataset.py", "tests/sink/test_fs.py"
INDEX, KEEP, OBJECTS = "tests/sink/test_index.py", "tests/sink/test_maintain.py", "tests/sink/test_objects.py"
RESTART, KAFKA, TOPIC = (
    "tests/line/test_restart.py",
    "tests/source/test_kafka_source.py",
    "tests/faults/test_topic_faults.py",
)
STREAMS, WINDOWS, FACES = (
    "tests/runtime/test_streams.py",
    "tests/operators/test_windows.py",
    "tests/operators/test_faces.py",
)
GUARDS = "tests/sink/test_guards.py"
FILMS = "tests/redaction/test_chunk_films.py"
FINISH = "tests/runtime/test_finish.py"
OPERATORS = "../operators/streamfx_operators"


@dataclass(frozen=True)
class Mutation:
    """One broken rule, by its number in ARCHITECTURE.md or in docs/privacy.md: in `file` of the package `old` becomes `new`,
    and `test` must fail."""

    rule: int | str
    broken: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        1,
        "another run may write into the dataset",
        "sink/dataset.py",
        "if stored.get(key) != own[key]]",
        "if False]",
        f"{DATASET}::test_a_different_run_is_refused_with_the_difference",
    ),
    Mutation(
        1,
        "another configuration comes in without a config entry",
        "sink/commit.py",
        'if batch.kind != "config" and head.config_id is not None and head.terms != self.terms:',
        "if False:",
        f"{COMMIT}::test_another_configuration_needs_a_config_entry",
    ),
    Mutation(
        1,
        "an older configuration's writer goes on",
        "sink/commit.py",
        "if self._head is not None and head.config_id not in (self._config_id, self._head.config_id):",
        "if False:",
        f"{COMMIT}::test_a_writer_of_the_older_configuration_stops",
    ),
    Mutation(
        2,
        "a written file is not synced",
        "sink/fs.py",
        "            os.fsync(descriptor)\n        finally:\n            os.close(descriptor)\n\n    def write_over",
        "        finally:\n            os.close(descriptor)\n\n    def write_over",
        f"{FS}::test_a_new_file_is_synced_completely_and_never_overwrites",
    ),
    Mutation(
        2, "the staging folder is not synced", "sink/protocol.py", "self.fs.sync_dir(log.staging_dir)", "pass", TWO
    ),
    Mutation(
        3,
        'a writer that gets "exists" treats its own commit as lost',
        "sink/commit.py",
        "if entry.attempt != own.attempt:",
        "if entry is not own:",
        f"{COMMIT}::test_after_any_error_the_same_commit_may_be_repeated",
    ),
    Mutation(
        3,
        "the entry is written in place, not linked",
        "sink/protocol.py",
        "self.fs.link(self.log.staged_entry_path(entry.n, entry.attempt), self.log.entry_path(entry.n))",
        "path = self.log.entry_path(entry.n)\n            self.fs.write_new(path, entry.to_json(path))",
        TWO,
    ),
    Mutation(
        3,
        "an entry's checksum is not compared",
        "sink/log.py",
        'if "sha256" in values and data != _sealed(_unsealed(data, values.pop("sha256")), where):',
        'if values.pop("sha256", None) is None and False:',
        f"{GUARDS}::test_every_changed_byte_is_detected",
    ),
    Mutation(
        4,
        "rows that only a missing staging folder had are passed over",
        "sink/protocol.py",
        "if last is not None and not self.fs.exists(self.log.staging_dir):",
        "if False:",
        f"{GUARDS}::test_rows_lost_with_the_staging_folder_are_reported",
    ),
    Mutation(
        3,
        "a taken number is taken again",
        "sink/protocol.py",
        "        try:\n            self.fs.link(self.log.staged_entry_path(entry.n",
        "        try:\n            self.fs.remove(self.log.entry_path(entry.n))\n"
        "            self.fs.link(self.log.staged_entry_path(entry.n",
        TWO,
    ),
    Mutation(
        4,
        "the log's folder is not synced first",
        "sink/protocol.py",
        "self.fs.sync_dir(self.log.entries_dir)",
        "pass",
        TWO,
    ),
    Mutation(
        4,
        "final folders are not synced",
        "sink/protocol.py",
        "        for folder in folders:\n            self.fs.sync_dir(folder)\n        for file",
        "        for file",
        TWO,
    ),
    Mutation(
        4,
        "chunks show before their windows",
        "sink/log.py",
        'PUBLISH_ORDER = (MEDIA, "films", "windows", "chunks")',
        'PUBLISH_ORDER = (MEDIA, "films", "chunks", "windows")',
        TWO,
    ),
    Mutation(
        5,
        "an adopted entry is not published",
        "sink/protocol.py",
        "            self.publish(last)\n",
        "",
        f"{COMMIT}::test_the_loser_publishes_the_winners_entry_if_the_winner_could_not",
    ),
    Mutation(
        5,
        "the loser keeps its own state",
        "sink/commit.py",
        "            entry.snapshot,\n",
        "            {},\n",
        f"{COMMIT}::test_a_commit_returns_the_head_that_a_restart_finds",
    ),
    Mutation(
        7,
        "what is staged for a number that is free counts as garbage",
        "sink/protocol.py",
        "            if n > newest:\n                continue\n",
        "",
        f"{COMMIT}::test_only_files_that_an_existing_entry_does_not_name_are_garbage",
    ),
    Mutation(
        7,
        "the index is believed",
        "sink/log.py",
        "        while self.has(hint + step):\n",
        "        while step < 1:\n",
        f"{INDEX}::test_the_end_is_the_same_whatever_the_index_contains",
    ),
    Mutation(
        7,
        "a hole that hides the end is overlooked",
        "sink/log.py",
        "_GUARD = 10",
        "_GUARD = 0",
        f"{INDEX}::test_a_hole_that_hides_the_end_is_refused_with_the_missing_name",
    ),
    Mutation(
        7,
        "an index of live files is believed unchecked",
        "sink/current_files.py",
        'whole = index["sha256"] == _digest(index["files"]) and 0 <= index["n"] <= newest',
        'whole = index["n"] <= newest',
        f"{INDEX}::test_the_live_files_are_the_same_without_an_index_or_with_a_damaged_one",
    ),
    Mutation(
        7,
        "an index that cannot be written stops the writer",
        "sink/log.py",
        "        with suppress(OSError):\n            self.make_index_dir()",
        "        with suppress():\n            self.make_index_dir()",
        f"{INDEX}::test_an_unusable_index_stops_no_writer[newest]",
    ),
    Mutation(
        8,
        "later writers do not obey an erasure",
        "sink/commit.py",
        "for n in head.erased_by}",
        "for n in ()}",
        f"{KEEP}::test_later_writers_leave_out_what_was_erased",
    ),
    Mutation(
        8,
        "files are replaced before the entry says so",
        "sink/maintain.py",
        "        if self._writer.link(entry).attempt != entry.attempt:",
        "        for final in replaces:\n            self._fs.retire(final, lambda data: data)\n"
        "        if self._writer.link(entry).attempt != entry.attempt:",
        KEPT,
    ),
    Mutation(
        8,
        "a file is replaced that somebody has replaced already",
        "sink/maintain.py",
        "while all(file.final in self._files for file in rewrite.old):",
        "while True:",
        f"{KEEP}::test_of_two_concurrent_compactions_one_gives_in",
    ),
    Mutation(
        8,
        "copies of published rows stay in staging",
        "sink/protocol.py",
        "if n == newest else set()",
        "",
        f"{KEEP}::test_what_was_erased_cannot_come_back_from_staging",
    ),
    Mutation(
        9,
        "a put does not ask that the name be free",
        "sink/objects.py",
        'mode="create"',
        'mode="overwrite"',
        f"{OBJECTS}::test_of_two_writers_the_second_loses_and_follows",
    ),
    Mutation(
        9,
        "the probe is left out",
        "sink/dataset.py",
        "            probe(fs, path)\n",
        "",
        f"{OBJECTS}::test_a_store_that_ignores_the_condition_is_refused",
    ),
    Mutation(
        9,
        "409 counts as taken",
        "sink/objects.py",
        "                raise  # 409: another put was in progress, and has failed\n",
        "                return False\n",
        f"{OBJECTS}::test_any_request_may_fail_once",
    ),
    Mutation(
        9,
        "a lost reply is not recognised",
        "sink/objects.py",
        "return unsure and there == data",
        "return False",
        f"{OBJECTS}::test_any_request_may_fail_once",
    ),
    Mutation(
        9,
        "a merged file's name becomes free",
        "sink/objects.py",
        "            self.write_over(path, empty)\n",
        "            self.remove(path)\n",
        f"{OBJECTS}::test_a_merged_file_becomes_one_without_rows_and_its_name_stays_taken",
    ),
    Mutation(
        1,
        "a file that changed is continued",
        "runtime/resume.py",
        "elif record is not None and fingerprint(record) != dict(head.last_record):",
        "elif False:",
        f"{RESTART}::test_a_stream_that_changed_is_not_continued[another last chunk]",
    ),
    Mutation(
        1,
        "records of a topic that was recreated meanwhile are committed",
        "runtime/worker.py",
        "            self._source.check_topic()\n",
        "            pass\n",
        f"{TOPIC}::test_nothing_is_committed_once_the_topic_was_recreated",
    ),
    Mutation(
        5,
        "a run whose last commit was lost is over",
        "runtime/lane.py",
        "        return self.read_out and not self.uncommitted\n",
        "        return self.read_out\n",
        f"{FINISH}::test_files_are_finished_once_their_last_entry_exists[5]",
    ),
    Mutation(
        6,
        "what retention took before the first entry is skipped without a word",
        "runtime/resume.py",
        "if bounds.begun is None or bounds.begun >= first:",
        "if True:",
        f"{TOPIC}::test_records_removed_before_the_first_entry_are_a_gap_too",
    ),
    Mutation(
        6,
        "aborted transactions are read",
        "source/kafka.py",
        '"isolation_level": "read_committed"',
        '"isolation_level": "read_uncommitted"',
        f"{KAFKA}::test_aborted_transactions_are_invisible_everywhere",
    ),
    Mutation(
        6,
        "where an offset is gone, reading goes on anywhere",
        "source/kafka.py",
        '"auto_offset_reset": "none"',
        '"auto_offset_reset": "earliest"',
        f"{KAFKA}::test_a_gap_from_retention_is_reported_once_with_the_first_readable_offset",
    ),
    Mutation(
        6,
        "what retention took is skipped without a word",
        "runtime/resume.py",
        "if head.end is not None and head.end < first:",
        "if False:",
        f"{TOPIC}::test_records_removed_by_retention_are_a_counted_gap",
    ),
    Mutation(
        10,
        "a restart forgets the face tracks",
        "runtime/line.py",
        'if states and "faces" in states:',
        "if False:",
        f"{RESTART}::test_a_run_ended_four_times_leaves_the_rows_of_an_undisturbed_run[9]",
    ),
    Mutation(
        10,
        "a restart forgets the open windows",
        "runtime/resume.py",
        '        if "windows" in operators:\n            lost',
        "        if False:\n            lost",
        f"{RESTART}::test_a_run_ended_four_times_leaves_the_rows_of_an_undisturbed_run[9]",
    ),
    Mutation(
        10,
        "a restart decides again when the detector looks",
        f"{OPERATORS}/faces.py",
        'stream.last_sample_us, stream.last_detection = snapshot["last_sample_us"], snapshot["last_detection"]',
        'stream.last_sample_us = snapshot["last_sample_us"]',
        f"{FACES}::test_the_line_gives_the_same_windows_for_all_cuts_and_across_restarts",
    ),
    Mutation(
        10,
        "a restart forgets which chunks it has seen",
        "runtime/streams.py",
        'return StreamState(item["last_seq"], ',
        "return StreamState(-1, ",
        f"{STREAMS}::test_a_restart_anywhere_changes_no_decision",
    ),
    Mutation(
        10,
        "a window whose chunk is gone comes without it",
        f"{OPERATORS}/windows.py",
        "                    track.lost_starts.update(self._open_starts(stream, sample_us))",
        "                    pass",
        f"{WINDOWS}::test_windows_that_need_a_chunk_that_is_gone_are_lost_counted_and_never_come",
    ),
    Mutation(
        10,
        "a snapshot names the stream",
        "runtime/streams.py",
        'streams.append(_to_json(period, key, state) | {"operators": operators_of',
        'streams.append(_to_json(period, stream_id, state) | {"operators": operators_of',
        f"{STREAMS}::test_no_raw_id_is_in_a_snapshot",
    ),
    Mutation(
        11,
        "a row belongs to a chunk that did not close its window",
        f"{OPERATORS}/windows.py",
        "closed_by=closed_by,",
        "closed_by=max(sample.offset for sample in seen),",
        f"{WINDOWS}::test_a_window_closes_with_the_chunk_whose_event_time_reaches_its_end",
    ),
    Mutation(
        11,
        "a track is named the same in every salt period",
        "privacy/pseudonyms.py",
        'self._hmac("track", stream_id, birth_us, birth_index, salt_period)',
        'self._hmac("track", stream_id, birth_us, birth_index)',
        "tests/test_privacy.py::test_a_track_is_unlinkable_across_salt_periods",
    ),
    Mutation(
        11,
        "the wall clock ends a stream",
        "runtime/streams.py",
        "limit_ms = now_ms - round(idle_s * 1000)",
        'limit_ms = __import__("time").time() * 1000 - round(idle_s * 1000)',
        f"{STREAMS}::test_an_idle_stream_is_named_by_the_append_times_that_pass_it",
    ),
    Mutation(
        11,
        "a chunk may kill its workers for ever",
        "runtime/attempts.py",
        '"deaths": deaths + 1',
        '"deaths": deaths',
        "tests/runtime/test_attempts.py::test_each_start_that_finds_the_mark_counts_one_more_death",
    ),
    Mutation(
        12,
        "what is decided depends on how the stream was cut",
        f"{OPERATORS}/faces.py",
        "        self._streams[stream_id] = stream\n        tracked",
        "        self._streams[stream_id] = stream\n        stream.last_detection = -1\n        tracked",
        f"{FACES}::test_tracks_do_not_depend_on_the_chunks",
    ),
    Mutation(
        12,
        "a chunk that came twice is processed twice",
        "runtime/streams.py",
        'raise BadChunk("duplicate", "this sequence number was processed before", fate="duplicate")',
        "return 0",
        f"{STREAMS}::test_a_chunk_sent_twice_is_a_duplicate",
    ),
    Mutation(
        4,
        "a row of films shows before its film",
        "sink/log.py",
        'PUBLISH_ORDER = (MEDIA, "films", "windows", "chunks")',
        'PUBLISH_ORDER = ("films", MEDIA, "windows", "chunks")',
        TWO,
    ),
    Mutation(
        "P9",
        "a film stays when its row is erased",
        "sink/maintain.py",
        "rewrites.append(_Rewrite((file, *self._films(rule, file, data)), new))",
        "rewrites.append(_Rewrite((file,), new))",
        KEPT,
    ),
    Mutation(
        "P9",
        "a film that comes later is not left out",
        "sink/commit.py",
        "            if obey(self._rules.values(), row.table, row.values) is None:\n                continue\n",
        "",
        KEPT,
    ),
    Mutation(
        "P6",
        "a film ends with what its own chunk shows",
        "redaction/chunk_films.py",
        "around = [one for one in (self._before, now, after) if one is not None]",
        "around = [one for one in (self._before, now) if one is not None]",
        f"{FILMS}::test_a_face_that_the_next_chunk_shows_first_is_filled_at_the_end_of_this_one",
    ),
    Mutation(
        "P6",
        "a film begins with what its own chunk shows",
        "redaction/chunk_films.py",
        "around = [one for one in (self._before, now, after) if one is not None]",
        "around = [one for one in (now, after) if one is not None]",
        f"{FILMS}::test_a_face_that_is_lost_at_the_border_is_filled_on_the_other_side",
    ),
    Mutation(
        "P5",
        "a frame of a film that the detector failed on shows what it shows",
        "redaction/chunk_films.py",
        "places = None if number in now.seen.unsure else regions",
        "places = regions",
        f"{FILMS}::test_frames_that_the_detector_could_not_look_at_are_filled_whole",
    ),
    Mutation(
        "P5",
        "what is made from a damaged picture shows",
        "media/screen.py",
        "self._whole = not frame.is_corrupt and (self._whole or bool(frame.key_frame))",
        "self._whole = not frame.is_corrupt",
        "tests/redaction/test_redact.py::test_a_damaged_picture_is_filled_whole_and_so_are_those_that_are_made_from_it",
    ),
)


def passes(copy: Path, *tests: str) -> bool | None:
    """Whether the tests pass in the copy; None if all were skipped."""
    paths = os.pathsep.join([str(copy), str(copy / "operators"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{', '.join(tests)} could not be run:\n{done.stdout}{done.stderr}")
    return None if done.returncode == 0 and " passed" not in done.stdout else done.returncode == 0


def is_noticed(mutation: Mutation, copy: Path) -> bool | None:
    """Whether the test fails on the broken copy; None if it was skipped."""
    file = copy / "streamfx" / mutation.file
    whole = file.read_text()
    if whole.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.file}: the text of {mutation.broken!r} is there {whole.count(mutation.old)} times")
    file.write_text(whole.replace(mutation.old, mutation.new))
    try:
        passed = passes(copy, mutation.test)
        return None if passed is None else not passed
    finally:
        file.write_text(whole)


def main() -> None:
    """Break one rule after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="only mutations whose description contains this text")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory(prefix="streamfx-mutations-") as folder:
        copy = Path(folder) / "repo"
        for part in ("streamfx", "operators", "tests", "config", "docs", "weights", "triton_models"):
            shutil.copytree(REPO / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPO / "pyproject.toml", copy)
        # Tests look beside the repository for a broker that they may start, and for clips.
        (copy.parent / "shared").symlink_to(REPO.parent / "shared")
        chosen = [m for m in MUTATIONS if args.only is None or args.only in m.broken]
        if not passes(copy, *sorted({mutation.test for mutation in chosen})):
            raise SystemExit("expected the tests to pass before any mutation, but some fail; repair them first")
        print("| rule | broken | noticed by | noticed |\n|---|---|---|---|", flush=True)
        for mutation in chosen:
            noticed = is_noticed(mutation, copy)
            table.append({"rule": mutation.rule, "broken": mutation.broken, "test": mutation.test, "noticed": noticed})
            by = mutation.test.removeprefix("tests/sink/")
            word = {True: "yes", False: "NO", None: "not run: its test was skipped"}[noticed]
            print(f"| {mutation.rule} | {mutation.broken} | `{by}` | {word} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")
    sys.exit(1 if any(row["noticed"] is False for row in table) else 0)


if __name__ == "__main__":
    main()
