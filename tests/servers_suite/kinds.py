"""The servers that one suite runs over."""

from __future__ import annotations

import pytest

ASGI = ("daphne", "uvicorn", "uvicorn-asyncio", "granian", "hypercorn", "runserver-daphne")
WSGI = ("gunicorn-gthread", "runserver-wsgi")


def on(*kinds: str) -> pytest.MarkDecorator:
    """Runs the test once for each kind; the servers live as long as the module's tests."""
    return pytest.mark.parametrize("server", kinds, indirect=True, scope="module")


every_kind = on(*ASGI, *WSGI)
asgi = on(*ASGI)
wsgi = on(*WSGI)
