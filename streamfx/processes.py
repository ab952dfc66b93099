"""Pools of processes, which end when the process that started them is gone, and on Ctrl-C without a traceback of their
own; processes that leave no core dump of what they hold; and a start that collects no garbage."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.context import BaseContext
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Imports and the building of nets make a million objects that stay, and a collector that runs meanwhile looks for
    garbage among them again and again, which is a fifth of a start. So it rests, and leaves them alone afterwards."""
    rested = not gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not rested:
            gc.freeze()
            gc.enable()


class Pool(ProcessPoolExecutor):
    """A pool whose processes stop their work on Ctrl-C, which a terminal sends to them too, and begin no more of it.

    The owner alone writes about it: a process that is still starting, or waits for work, writes no traceback.
    """

    def __init__(
        self,
        processes: int,
        context: BaseContext,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ):
        """`initializer` is called with `initargs` in each process before its first work."""
        super().__init__(processes, context, _begin, (initializer, initargs))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have one of the processes call `fn`."""
        # A process inherits the signals that are blocked when it is started; it unblocks SIGINT once it has its
        # handler.
        with _ctrl_c_blocked():
            return super().submit(_work, fn, *args, **kwargs)


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _CtrlC:
    """What Ctrl-C means to a process of a pool."""

    def __init__(self) -> None:
        self.pressed = False
        self.at_work = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        if self.at_work:
            raise KeyboardInterrupt


_ctrl_c = _CtrlC()


def _begin(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    end_with_parent()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as it is in the background of a script
        signal.signal(signal.SIGINT, _ctrl_c)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if initializer is not None and not _ctrl_c.pressed:
        initializer(*initargs)


def _work(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    if _ctrl_c.pressed:
        raise KeyboardInterrupt
    _ctrl_c.at_work = True
    try:
        return function(*args, **kwargs)
    finally:
        _ctrl_c.at_work = False


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


def leave_no_core_dump() -> None:
    """Have this process, and those that it starts from now on, leave no core dump with any of their memory in it.

    A dump into a file is forbidden by the limit of its size. Linux ignores that limit where dumps are piped to a program,
    as systemd does; such a dump gets no memory mapping (`man 5 core`, `coredump_filter`).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # only Linux has it, and some sandboxes do not
        Path("/proc/self/coredump_filter").write_text("0")
