"""What a project can listen to."""

from __future__ import annotations

from django.dispatch import Signal

events_dropped = Signal()
"""Events committed for a channel that had already finished.

Arguments: ``channel`` (str), ``count`` (int).
"""

stream_failed = Signal()
"""A generator raised after its stream had started; its client got an ``error`` event.

Arguments: ``exception``, ``request`` (or None).
"""
