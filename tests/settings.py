"""Django settings of the test suite and of the servers that it starts (`tests/servers.py`).

Read from the environment, because a server is another process:

`DJANGO_SSE_TEST_DB`            path of the SQLite file; default: a file in a fresh directory
`DJANGO_SSE_TEST_DATABASE_URL`  instead of SQLite: `postgresql://user:password@host:port/name`, or
                                `mysql://...`
`DJANGO_SSE_TEST_OPTIONS`       JSON object: `DJANGO_SSE`, with a HEARTBEAT of 1 s where it has none
`DJANGO_SSE_TEST_CHANNEL_LAYERS` JSON object: `CHANNEL_LAYERS`
`DJANGO_SSE_TEST_DAPHNE`        `1`: daphne takes over `runserver` (ASGI); default: plain WSGI
`DJANGO_SSE_TEST_DEBUG`         `1`: `DEBUG = True`
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from django_sse.sqlite import SQLITE_OPTIONS
from tests.databases import config


def scratch_directory() -> Path:
    """A directory that goes away with the process that made it."""
    path = Path(tempfile.mkdtemp(prefix="django-sse-tests-"))
    owner = os.getpid()

    def remove() -> None:
        # A forked child runs the same atexit hooks and must not take its parent's database along.
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path


def _sqlite() -> dict[str, Any]:
    given = os.environ.get("DJANGO_SSE_TEST_DB")
    path = Path(given) if given else scratch_directory() / "db.sqlite3"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        # A file and not `:memory:`: several connections and processes have to see the same rows.
        "TEST": {"NAME": str(path.with_name(f"test-{path.name}"))},
        "OPTIONS": SQLITE_OPTIONS,
    }


def _flag(name: str) -> bool:
    return os.environ.get(name, "") == "1"


_url = os.environ.get("DJANGO_SSE_TEST_DATABASE_URL")
DATABASES: dict[str, dict[str, Any]] = {"default": config(_url) if _url else _sqlite()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DEBUG = _flag("DJANGO_SSE_TEST_DEBUG")
SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.project.urls"
ASGI_APPLICATION = "tests.project.asgi.application"
WSGI_APPLICATION = "tests.project.wsgi.application"
USE_TZ = True
STATIC_URL = "/static/"

INSTALLED_APPS = [
    # Before staticfiles: both bring a runserver, and the first one wins.
    *(["daphne"] if _flag("DJANGO_SSE_TEST_DAPHNE") else []),
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "django.contrib.staticfiles",
    "django_sse",
    # For its tables; integration/demo takes the rest of the settings from the demo itself.
    "demo_project.assistant",
    "demo_project.chat",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Django's own configuration is silent with DEBUG off. Without any, Python's handler of last resort
# writes warnings and tracebacks to stderr, which is what a failed test wants to show.
LOGGING_CONFIG = None

CHANNEL_LAYERS: dict[str, Any] = json.loads(
    os.environ.get("DJANGO_SSE_TEST_CHANNEL_LAYERS") or "{}"
)

DJANGO_SSE: dict[str, Any] = json.loads(os.environ.get("DJANGO_SSE_TEST_OPTIONS") or "{}")
if isinstance(_streams := DJANGO_SSE.setdefault("STREAMS", {}), dict):
    _streams.setdefault("HEARTBEAT", 1.0)
