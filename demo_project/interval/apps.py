"""The app configuration of the interval page."""

from __future__ import annotations

from django.apps import AppConfig


class IntervalConfig(AppConfig):
    """No models, no start-up code: the name only."""

    name = "demo_project.interval"
    label = "demo_interval"
