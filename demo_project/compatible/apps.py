"""The app configuration of the endpoints that the vendors' SDKs speak to."""

from __future__ import annotations

from django.apps import AppConfig


class CompatibleConfig(AppConfig):
    """No models, no start-up code: the name only."""

    name = "demo_project.compatible"
    label = "demo_compatible"
