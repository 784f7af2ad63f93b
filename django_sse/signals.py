"""Signals that a project can connect to."""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["events_dropped", "stream_failed"]

events_dropped = Signal()
"""Sent when events were dropped because they were committed after their channel had finished.

Arguments: ``channel`` (str), ``count`` (int).
"""

stream_failed = Signal()
"""Sent when a generator raised after its stream had started. Its client got an ``error`` event.

Arguments: ``exception``, ``request`` (or None).
"""
