"""Fixtures for all rooms: a real Kafka broker, started once for the session where a test asks for it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers.kafka import broker

__all__ = ["broker"]
