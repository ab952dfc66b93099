"""A dataset's tables for the tools that others know: DuckDB views, Delta and Iceberg tables over the same files."""
