"""The app configuration of the assistant page."""

from __future__ import annotations

from django.apps import AppConfig


class AssistantConfig(AppConfig):
    """Questions, and what was answered."""

    name = "demo_project.assistant"
    label = "demo_assistant"
