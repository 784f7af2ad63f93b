"""The environment chooses the log: ``BENCH_LOG`` is memory, sqlite or postgres.

``BENCH_DATABASE`` is the SQLite file or the name of the PostgreSQL database; ``BENCH_SETTINGS`` is
JSON of further ``DJANGO_SSE`` settings.
"""

from __future__ import annotations

import json
import os
from typing import Any

from django_sse.sqlite import SQLITE_OPTIONS

LOG = os.environ.get("BENCH_LOG", "memory")
DATABASE = os.environ.get("BENCH_DATABASE", ":memory:")

SECRET_KEY = "bench"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django_sse"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "benchmarks.site.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": DATABASE,
    "OPTIONS": SQLITE_OPTIONS,
}
POSTGRES: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": DATABASE,
    "HOST": os.environ.get("PGHOST", "127.0.0.1"),
    "PORT": os.environ.get("PGPORT", "5432"),
    "USER": os.environ.get("PGUSER", "postgres"),
}
DATABASES = {"default": POSTGRES if LOG == "postgres" else SQLITE}

DJANGO_SSE: dict[str, Any] = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
# All runs have one owner here.
DJANGO_SSE.setdefault("LIMITS", {}).update({"RUNS_PER_OWNER": 1000, "RUNS_PER_PROCESS": 10_000})
if LOG == "memory":
    # Private to the library, which reads it after this module.
    os.environ["DJANGO_SSE_CONSTANTS"] = json.dumps({"LOG": "django_sse.log.memory.MemoryLog"})
