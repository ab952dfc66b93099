"""Labelled synthetic talking faces: pictures, voices and the ground truth about both."""
