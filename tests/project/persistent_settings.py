"""`tests.settings`, with connections that outlive their request, and a middleware in a thread."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as _DATABASES
from tests.settings import MIDDLEWARE as _MIDDLEWARE

DATABASES = {"default": {**_DATABASES["default"], "CONN_MAX_AGE": 60}}
MIDDLEWARE = [*_MIDDLEWARE, "tests.project.middleware.sync_only"]
