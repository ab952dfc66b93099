"""The operators that ship with streamfx, one file each; they are found through entry points."""
