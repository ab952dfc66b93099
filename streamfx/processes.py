"""What a process of a pool does first: it ends when the process that started it is gone, however that one died."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Watch the parent from a thread of this pool process, and leave at once when it is gone.

    A pool's process otherwise waits for work for ever, with all its memory, when its parent was killed with -9.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), name="end-with-parent", daemon=True).start()


def _watch(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
