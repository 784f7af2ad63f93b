"""The site under an ASGI server."""

from __future__ import annotations

from django_sse.asgi import get_asgi_application
from tests.integration.workers.celery import app  # noqa: F401 - so that shared_task knows its broker

application = get_asgi_application()
