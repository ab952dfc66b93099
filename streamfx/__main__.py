"""The command line: `streamfx`, and `python -m streamfx`."""

import signal


def main() -> None:
    """Run the command that `sys.argv` names."""
    # Until the command itself begins there is nothing to tidy away: Ctrl-C ends it at once, without a traceback of
    # imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from streamfx.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
