"""The neural nets, in plain torch: they know nothing of streams."""
