"""Decoding, audio features and chunk cutting."""
