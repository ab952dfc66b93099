"""Fixtures for all rooms: a real Kafka broker, started once for each process of a test run where a test asks for it.

Files with the longest tests come first, so that processes that share the files end at about the same time. And what is
skipped because this machine lacks something: it is counted and named at the end of the run, and
`pytest --lacked` runs the tests that the last run left out for that reason, once it is here.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from helpers.kafka import broker
from helpers.lacking import BEGINNING, skip_if_lacking

__all__ = ["broker"]

LACKED = "streamfx/lacked"

# A broker of a test lives for too short to profit from the second compiler, which takes half of the time to start one.
os.environ.setdefault("_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# No test asserts a timing, and a machine that others work on is slow at times.
settings.register_profile("streamfx", deadline=None)
settings.load_profile("streamfx")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lacked", action="store_true", help="only what the last run skipped for want of something")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    longest: Counter[Path] = Counter()
    for item in items:
        for mark in item.iter_markers("timeout"):
            longest[item.path] = max(longest[item.path], mark.args[0])
    items.sort(key=lambda item: -longest[item.path])
    if not config.getoption("--lacked"):
        return
    cache = getattr(config, "cache", None)  # there is none under -p no:cacheprovider
    wanted = set(cache.get(LACKED, [])) if cache else set()
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
    items[:] = [item for item in items if item.nodeid in wanted]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            skip_if_lacking(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found: Counter[str] = Counter()
    nodes = []
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        if reason.startswith(BEGINNING):
            found[reason.removeprefix(BEGINNING)] += 1
            nodes.append(report.nodeid)
    cache = getattr(config, "cache", None)
    if cache and not config.option.collectonly:
        cache.set(LACKED, nodes)
    if found:
        terminalreporter.section("skipped because this machine lacks")
        for what, number in found.most_common():
            terminalreporter.write_line(f"{number:4d} tests: {what}")
