"""The commit protocol and the Parquet writer."""
