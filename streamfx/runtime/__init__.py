"""Worker, supervisor, resume points, metrics."""
