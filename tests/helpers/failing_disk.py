"""A real folder on which one call fails, or during which the process dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamfx.sink.fs import LocalFileSystem


class FailingFs(LocalFileSystem):
    """A disk on which one kind of call fails once, before or after it was carried out.

    `fail` is the call, a part of its path, an error number (or KeyboardInterrupt, as if the process died there), and
    whether the call is carried out.
    """

    def __init__(self, root: Path, fail: tuple[str, str, int | type[BaseException], bool] | None = None):
        super().__init__(root)
        self.fail = fail
        self.written: list[str] = []

    def _strike(self, call: str, path: str, after: bool) -> None:
        if self.fail and self.fail[0] == call and self.fail[1] in path and self.fail[3] == after:
            what, self.fail = self.fail[2], None
            raise OSError(what, "injected", path) if isinstance(what, int) else what

    def write_new(self, path: str, data: bytes) -> None:
        self._strike("write_new", path, False)
        super().write_new(path, data)
        self.written.append(path)

    def link(self, source: str, target: str) -> None:
        self._strike("link", target, False)
        super().link(source, target)
        self._strike("link", target, True)

    def retire(self, path: str, emptied: Callable[[bytes], bytes]) -> None:
        self._strike("retire", path, False)
        super().retire(path, emptied)

    def sync_dir(self, path: str) -> None:
        self._strike("sync_dir", path, False)
        super().sync_dir(path)
