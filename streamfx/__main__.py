"""The command line: `streamfx`, and `python -m streamfx`."""

import os
import signal
import sys


def main() -> None:
    """Run the command that `sys.argv` names."""
    # Until the command itself begins there is nothing to tidy away: Ctrl-C ends it at once, without a traceback of
    # imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_standard_streams()
    from streamfx.cli.main import main as command

    command()


def _open_standard_streams() -> None:
    """Open /dev/null in place of a standard stream that whoever started this closed (`streamfx … <&-`): the next file that is
    opened would otherwise get its number, and what is printed would be written into that file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
