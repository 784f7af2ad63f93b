"""The Celery application of the site."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

app = Celery("site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def publish_before_the_fork(**_: Any) -> None:
    """A connection to the log and one to the notifier are open when the pool is forked."""
    from django_sse import publish

    publish(f"parent-{os.getpid()}", "before the fork")
