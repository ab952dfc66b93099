"""The disk that forgets: what was synced stays, what was not may be gone, and a dataset on it loses no committed
row."""

from __future__ import annotations

import random

import pytest

from streamfx.sink.dataset import Dataset
from streamfx.sink.identity import Identity
from streamfx.testing import TEST_PARTITION, Died, ForgetfulDisk, ForgetfulFileSystem


def test_what_was_synced_survives_and_what_was_not_may_be_gone_or_cut_short() -> None:
    left = set()
    for seed in range(60):
        disk = ForgetfulDisk(random.Random(seed))
        fs = ForgetfulFileSystem(disk)
        fs.mkdir("d")
        fs.sync_dir("")
        fs.write_new("d/kept", b"all of it")
        fs.sync_dir("d")
        fs.write_new("d/named", b"durable bytes")
        fs.write_over("d/hint", b"whatever")
        disk.lose_power()
        files = disk.files()
        assert files.pop("d/kept") == b"all of it"
        assert files.get("d/named", b"durable bytes") == b"durable bytes", "bytes are durable, the name is not"
        assert b"whatever".startswith(files.get("d/hint", b""))
        left.add(tuple(sorted(files)))
    assert {(), ("d/hint", "d/named")} <= left


def test_a_name_that_was_removed_and_not_synced_may_be_back() -> None:
    seen = set()
    for seed in range(20):
        disk = ForgetfulDisk(random.Random(seed))
        fs = ForgetfulFileSystem(disk)
        fs.write_new("a", b"a")
        fs.sync_dir("")
        fs.remove("a")
        disk.lose_power()
        seen.add(disk.exists("a"))
    assert seen == {True, False}


def test_a_process_of_before_the_power_loss_is_no_more() -> None:
    disk = ForgetfulDisk()
    fs = ForgetfulFileSystem(disk)
    disk.lose_power()
    with pytest.raises(Died):
        fs.exists("a")
    assert not ForgetfulFileSystem(disk).exists("a")


def test_names_exclude_each_other_as_on_a_real_disk() -> None:
    fs = ForgetfulFileSystem(ForgetfulDisk())
    fs.write_new("a", b"a")
    fs.link("a", "b")
    for taken in (lambda: fs.write_new("a", b""), lambda: fs.link("a", "b")):
        with pytest.raises(FileExistsError):
            taken()
    for gone in (lambda: fs.read("c"), lambda: fs.link("c", "d"), lambda: fs.listdir("e"), lambda: fs.mkdir("e/f")):
        with pytest.raises(FileNotFoundError):
            gone()
    assert (fs.listdir(""), fs.walk("none")) == (["a", "b"], [])


def test_a_dataset_that_was_opened_is_the_same_after_a_power_loss() -> None:
    disk = ForgetfulDisk(random.Random(1))
    topics, counts = {TEST_PARTITION.topic: TEST_PARTITION.topic_id}, {TEST_PARTITION.topic: 1}
    identity = Identity("cluster", topics, counts, ("redact",), "group")
    Dataset.open("/simulated", identity, "c1", (), {}, fs=ForgetfulFileSystem(disk))
    before = disk.files("_schema")
    disk.lose_power()
    Dataset.open("/simulated", identity, "c1", (), {}, fs=ForgetfulFileSystem(disk))
    assert before and disk.files("_schema") == before
