"""What the simulated processes share: a disk that loses what was not synced, or an object store that loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

from streamfx.testing import ForgetfulDisk


class Disk(ForgetfulDisk):
    """A disk, or with `store` an object store. `late` holds requests to the store whose sender gave up."""

    def __init__(self, rng: random.Random, store: bool = False):
        super().__init__(rng)
        self.store = store
        self.late: list[Callable[[], None]] = []

    def lose_power(self) -> None:
        """End all processes. A disk also loses what was not synced; an object store does not."""
        if self.store:
            self.boots += 1
        else:
            super().lose_power()

    def put(self, path: str, data: bytes) -> None:
        """Give an object a name and create its parent folders."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            self.mkdir("/".join(parts[:depth]))
        self.write(path, data)

    def data(self, path: str) -> bytes | None:
        """The bytes of a file; None where there is none."""
        return self.read(path) if self.exists(path) else None
