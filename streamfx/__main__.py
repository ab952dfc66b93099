"""`python -m streamfx` is the command line."""

from streamfx.cli import main

main()
