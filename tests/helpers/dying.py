"""A file system on a simulated disk that dies at one of its steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from streamfx.testing import Died, ForgetfulDisk, ForgetfulFileSystem


class Dying(ForgetfulFileSystem):
    """Dies at the step `at` of those that follow the first folder which is made, before or after it is carried out."""

    def __init__(self, disk: ForgetfulDisk, at: int = -1, after: bool = False, power: bool = False):
        super().__init__(disk)
        self.at, self.after, self.power, self.steps, self.writing = at, after, power, 0, False

    def mkdir(self, path: str) -> None:
        self.writing = True
        super().mkdir(path)

    def step(self, carry_out: Callable[[], Any]) -> Any:
        if not self.writing:
            return super().step(carry_out)
        self.steps += 1
        if self.steps != self.at:
            return super().step(carry_out)
        if self.after:
            with suppress(OSError):  # who dies right after a step sees no error of it
                super().step(carry_out)
        if self.power:
            self.disk.lose_power()
        raise Died
