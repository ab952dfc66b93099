"""`python -m streamfx.demo [VIDEO]`."""

import sys

from streamfx.demo.run import main
from streamfx.errors import StreamfxError
from streamfx.terminal import INTERRUPTED, once_interruptible, printable, say

if __name__ == "__main__":
    try:
        with once_interruptible():
            sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
    except StreamfxError as error:
        sys.exit(printable(f"Error: {error}"))
    except KeyboardInterrupt:
        say("\nInterrupted.")
        sys.exit(INTERRUPTED)
