"""The app configuration of the progress page."""

from __future__ import annotations

from django.apps import AppConfig


class ProgressConfig(AppConfig):
    """No models, no start-up code: the name only."""

    name = "demo_project.progress"
    label = "demo_progress"
