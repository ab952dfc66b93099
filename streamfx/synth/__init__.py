"""Labelled synthetic talking faces: pictures, voices and the truth about both."""
