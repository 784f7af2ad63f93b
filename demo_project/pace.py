"""The pauses of the demo, which a person enjoys and a test does not."""

from __future__ import annotations

from django.conf import settings


def paced(seconds: float) -> float:
    """``seconds`` times the setting ``DEMO_PACE``."""
    pace: float = settings.DEMO_PACE
    return seconds * pace
