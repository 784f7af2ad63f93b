"""The app configuration of the clock page."""

from __future__ import annotations

from django.apps import AppConfig


class ClockConfig(AppConfig):
    """No models, no start-up code: the name only."""

    name = "demo_project.clock"
    label = "demo_clock"
