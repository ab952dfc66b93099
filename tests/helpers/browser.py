"""A report's page in a real Chromium, opened from disk without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PHONE, LAPTOP, PAPER = (390, 844), (1366, 900), (718, 1000)
"""Width and height in CSS pixels; that of paper is A4 less its margins."""
ZONE = "Asia/Kolkata"
"""The page tells times in UTC wherever it is read."""


class Shown:
    """The page, opened from disk without a network. `said` is what the console said, `asked` what was asked for."""

    def __init__(self, chromium: Any, file: Path, size: tuple[int, int], scheme: str):
        viewport = {"width": size[0], "height": size[1]}
        self.context = chromium.new_context(viewport=viewport, color_scheme=scheme, offline=True, timezone_id=ZONE)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def chart(self, name: str) -> Any:
        """A chart by its name for a screen reader."""
        return self.page.get_by_role("application", name=re.compile(name))

    def summary(self, id_: str) -> str:
        return str(self.page.text_content(f"#summary-{id_}"))

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
