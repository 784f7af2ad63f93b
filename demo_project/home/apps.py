"""The app configuration of the home page."""

from __future__ import annotations

from django.apps import AppConfig


class HomeConfig(AppConfig):
    """No models, no start-up code: the name only."""

    name = "demo_project.home"
    label = "demo_home"
