"""The neural nets in plain torch, independent of streams."""
