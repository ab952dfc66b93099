"""Checkpoint import."""
