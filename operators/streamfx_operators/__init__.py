"""The operators that come with streamfx, a file each; found through entry points."""
