"""`tests.settings`, with middleware that touches responses."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE as _MIDDLEWARE

MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    *_MIDDLEWARE,
    "django.middleware.locale.LocaleMiddleware",
    "tests.project.middleware.failing",
    "tests.project.middleware.wrapping",
    "tests.project.middleware.sync_only",
]
