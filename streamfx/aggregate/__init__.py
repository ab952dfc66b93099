"""Aggregates: numbers of many tracks together, which may be shown to those who may not see the rows."""
