"""Exports: a dataset's rows in the formats of the field's other tools, a file for each stream."""
