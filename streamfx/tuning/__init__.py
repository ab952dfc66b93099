"""Tuning and sizing: what a stage costs on this machine, which settings are faster, and what a fleet would need."""
