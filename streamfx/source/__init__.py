"""Where chunks come from: Kafka or files."""
