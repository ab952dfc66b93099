"""The typed tree of the configuration, a file a section, and what reads it from YAML."""
