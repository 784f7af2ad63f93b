"""The chat's app configuration."""

from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Rooms, their messages, and who is connected."""

    name = "demo_project.chat"
    label = "chat"
