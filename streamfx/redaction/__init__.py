"""Redacted films: every frame of a video file with its faces filled, and nothing else of the file."""
