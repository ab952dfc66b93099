"""Tuning and sizing: measures what a stage costs on this machine, finds faster settings, and sizes a fleet."""
