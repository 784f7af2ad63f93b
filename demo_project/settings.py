"""Settings of the demo site: SQLite, daphne under ``runserver``, nothing to configure.

Every environment variable read here is optional:

``DEMO_DB``               path of the SQLite file (default: ``demo.sqlite3`` beside ``manage.py``)
``DEMO_DEBUG``            ``1`` shows tracebacks in the browser, for those who work on the demo
``DEMO_SECRET_KEY``       the signing key, for a demo that others can reach
``DEMO_ALLOWED_HOSTS``    host names beside localhost, with commas: a phone needs the desk's address
``DEMO_CORS_ORIGINS``     origins whose pages may read the streams with credentials, with commas
``DEMO_PACE``             factor on every pause of the demo; tests run at a tenth
``DEMO_WORKERS``          how many processes serve the demo (``make demo-workers``): with two
                          or more the assistant offers to kill the one that runs an answer
``OPENAI_BASE_URL``, ``OPENAI_API_KEY``, ``OPENAI_MODEL``
                          the upstream of the assistant; without the first, the stand-in of the demo
"""

from __future__ import annotations

import os
from pathlib import Path

from corsheaders.defaults import default_headers

from django_sse.sqlite import SQLITE_OPTIONS


def _listed(name: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, "").split(",") if item.strip()]


BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DEMO_DEBUG", "") == "1"
SECRET_KEY = os.environ.get("DEMO_SECRET_KEY", "insecure-the-demo-signs-nothing-of-value")
ALLOWED_HOSTS = ["localhost", ".localhost", "127.0.0.1", "[::1]", *_listed("DEMO_ALLOWED_HOSTS")]

INSTALLED_APPS = [
    "daphne",  # first, so that its runserver (ASGI) wins over the one of staticfiles
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "django_sse",
    "demo_project.home",
    "demo_project.chat",
    "demo_project.assistant",
    "demo_project.clock",
    "demo_project.compatible",
    "demo_project.interval",
    "demo_project.progress",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "demo_project.middleware.ContentSecurityPolicyMiddleware",
    "demo_project.middleware.ProcessMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "demo_project.middleware.ClearErrorsMiddleware",
]

ROOT_URLCONF = "demo_project.urls"
ASGI_APPLICATION = "demo_project.asgi.application"
WSGI_APPLICATION = "demo_project.wsgi.application"
CSRF_FAILURE_VIEW = "demo_project.errors.csrf_failure"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "demo_project" / "templates"],
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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DEMO_DB") or BASE_DIR / "demo.sqlite3",
        "OPTIONS": SQLITE_OPTIONS,
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "demo_project" / "static"]

# Django's own configuration says nothing with DEBUG off.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "INFO", "propagate": False}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

CORS_ALLOWED_ORIGINS = _listed("DEMO_CORS_ORIGINS")
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/.+/events/$"
CORS_ALLOW_HEADERS = (*default_headers, "last-event-id")

# Few enough to meet the limit by hand: ask three questions at once. And few enough for a browser,
# which opens six connections to a host over HTTP/1.1: an answer takes one for the window that asked
# and one for all others, the conversation takes one, and a stop needs one.
DJANGO_SSE = {"LIMITS": {"RUNS_PER_OWNER": 2}}

DEMO_PACE = float(os.environ.get("DEMO_PACE", "1"))
DEMO_WORKERS = int(os.environ.get("DEMO_WORKERS", "1"))

OPENAI_BASE_URL = os.environ.get("OPENAI_BASE_URL", "")
OPENAI_API_KEY = os.environ.get("OPENAI_API_KEY", "")
OPENAI_MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
