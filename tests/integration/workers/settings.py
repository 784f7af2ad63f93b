"""The site whose work is done outside of its web processes: `tests.settings`, and two queues.

Read from the environment, as `tests.settings` is:

`DJANGO_SSE_TEST_BROKER`  URL of the Redis that is Celery's broker
`DJANGO_SSE_TEST_VISIBILITY`  seconds after which Redis hands a task out again
`DJANGO_SSE_TEST_GATES`   the directory of the gates (`tests/integration/workers/gates.py`)
"""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "django_tasks_db", "tests.integration.workers.reports"]
ROOT_URLCONF = "tests.integration.workers.urls"
ASGI_APPLICATION = "tests.integration.workers.asgi.application"

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

CELERY_BROKER_URL = os.environ.get("DJANGO_SSE_TEST_BROKER", "")
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": float(os.environ.get("DJANGO_SSE_TEST_VISIBILITY", "3600")),
    # Looked for as often as a test wants to wait.
    "unacked_restore_interval": 0.5,
    "unacked_restore_throttle": 1,
    # A worker that is killed while it looks keeps the lock for so many seconds (by default 300).
    "unacked_mutex_expire": 2,
}
# What a worker that dies has fetched beyond what it works on would have to be handed out again.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_ANNOTATIONS = {
    "tests.integration.workers.reports.tasks.write": {"default_retry_delay": 0}
}
