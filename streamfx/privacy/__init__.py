"""What must never be forgotten: the key, pseudonyms, rows and pictures that may leave."""
