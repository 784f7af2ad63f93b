"""The app configuration of the assistant page."""

from __future__ import annotations

from django.apps import AppConfig


class AssistantConfig(AppConfig):
    """No models, no start-up code: the name only."""

    name = "demo_project.assistant"
    label = "demo_assistant"
