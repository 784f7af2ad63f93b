"""The demo's views inside the test process: its own settings over those of the suite."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps

from demo_project import settings as demo_settings

TAKEN = (
    "ALLOWED_HOSTS",
    "CORS_ALLOW_CREDENTIALS",
    "CORS_ALLOW_HEADERS",
    "CORS_URLS_REGEX",
    "CSRF_FAILURE_VIEW",
    "MIDDLEWARE",
    "OPENAI_MODEL",
    "ROOT_URLCONF",
    "TEMPLATES",
)


@pytest.fixture(autouse=True)
def demo(settings: Any) -> Any:
    for name in TAKEN:
        setattr(settings, name, getattr(demo_settings, name))
    settings.ALLOWED_HOSTS = [*demo_settings.ALLOWED_HOSTS, "testserver"]
    settings.CORS_ALLOWED_ORIGINS = []
    settings.DEMO_PACE = 0.0
    settings.DEMO_WORKERS = 1
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
    return settings


@pytest.fixture(autouse=True)
def rooms(request: pytest.FixtureRequest) -> None:
    """The rooms of the migration: a transactional test empties the tables at its end, and any test
    of the same worker may have been one."""
    marker = request.node.get_closest_marker("django_db")
    transaction = marker is not None and marker.kwargs.get("transaction")
    if marker is not None or "db" in request.fixturenames:
        request.getfixturevalue("transactional_db" if transaction else "db")
        import_module("demo_project.chat.migrations.0002_rooms").make_rooms(apps, None)
