"""Progress lines on a terminal, and Ctrl-C. The work continues when the terminal can no longer be written to."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Self, TypeVar

INTERRUPTED = 128 + signal.SIGINT
"""Exit code of a command that Ctrl-C ended before it was done, as shells have it."""

T = TypeVar("T")


def live() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again."""
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def say(text: str) -> None:
    """Write a line to standard error; a closed output is no error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


def printable(text: str) -> str:
    """The text with control characters, and what cannot be encoded, as backslash escapes; line ends and tabs stay."""
    return "".join(
        sign if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs") else ascii(sign)[1:-1] for sign in text
    )


def print_any_text() -> None:
    """Let standard output take any text: a file name goes out as the very bytes that it came in, and what a terminal's
    encoding lacks as signs that every one has."""
    codecs.register_error("streamfx.any", _as_it_can_be)
    with contextlib.suppress(AttributeError):  # no file, but what takes its place in a test
        sys.stdout.reconfigure(errors="streamfx.any")  # type: ignore[union-attr]


def _as_it_can_be(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign, after = error.object[error.start], error.start + 1
    if "\udc80" <= sign <= "\udcff":
        return bytes((ord(sign) - 0xDC00,)), after
    if "\u2500" <= sign <= "\u257f":  # the lines of a table
        return {"\u2500": "-", "\u2502": "|"}.get(sign, "+"), after
    return ascii(sign)[1:-1], after


class ProgressBar:
    """A bar on standard error where that is a terminal, else nothing; a terminal that goes away ends the bar alone."""

    def __init__(self, unit: str, total: int | None = None, initial: int = 0, title: str | None = None):
        self._bar: Any = None
        if live():
            # Only where it is drawn: no command may need it to say what it can do.
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # a thread that would write as well, with nobody to catch what fails
            with self._ending_with_the_terminal():
                self._bar = tqdm(
                    total=total, unit=unit, initial=initial, desc=printable(title) if title else None, file=sys.stderr,
                    dynamic_ncols=True,
                )  # fmt: skip

    def update(self, steps: int = 1, figures: str = "") -> None:
        """Count `number` more as done; `figures` stand at the end of the line."""
        self.show(self._bar.n + steps if self._bar is not None else steps, figures, at_once=False)

    def show(self, done: int, figures: str = "", at_once: bool = True) -> None:
        """So many are done in all."""
        if self._bar is None:
            return
        with self._ending_with_the_terminal():
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(max(0, done - self._bar.n))
            if at_once:
                self._bar.refresh()

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each counted once it has been used."""
        with self:
            for item in items:
                yield item
                self.update()

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            with self._ending_with_the_terminal():
                self._bar.close()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _ending_with_the_terminal(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            if self._bar is not None:
                self._bar.disable = True  # else it would try again when it is forgotten
            self._bar = None


class Stop:
    """A request to stop in good order: by SIGTERM, by Ctrl-C, or because the terminal went away.

    `asked` is set by the first signal, so that the work ends in good order. A second Ctrl-C ends the process at once.
    """

    def __init__(self, until: str):
        """`until` says what is done before the end, for whoever pressed Ctrl-C."""
        self.asked = threading.Event()
        self._by: signal.Signals | None = None
        self._until = until
        signal.signal(signal.SIGTERM, self._note)
        for number in (signal.SIGINT, signal.SIGHUP):
            # Under nohup, or in the background of a script, these are ignored, and stay so.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    @property
    def exit_code(self) -> int:
        """0, also after SIGTERM, which is how a service is stopped; after Ctrl-C 130, after a lost terminal 129."""
        return 128 + self._by if self._by in (signal.SIGINT, signal.SIGHUP) else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._by = self._by or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            # Not by a file object, which may just be in the middle of a write.
            with contextlib.suppress(OSError):
                os.write(2, f"\nInterrupted: {self._until}. Ctrl-C again ends it at once.\n".encode())
        self.asked.set()


def tidy_when_ended() -> None:
    """SIGTERM, and a terminal that goes away, end the process as an exit does, so that what is half made is removed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup a lost terminal is ignored, and stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))


@contextlib.contextmanager
def once_interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, so that what is half made is tidied away; a second one ends the process at
    once."""

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = signal.getsignal(signal.SIGINT)
    ours = before in (signal.default_int_handler, signal.SIG_DFL)
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is first:
            signal.signal(signal.SIGINT, before)
