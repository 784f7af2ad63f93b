"""The app configuration of the reports."""

from __future__ import annotations

from django.apps import AppConfig


class ReportsConfig(AppConfig):
    """The name only."""

    name = "tests.integration.workers.reports"
    label = "reports"
    default_auto_field = "django.db.models.BigAutoField"
