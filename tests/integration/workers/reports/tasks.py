"""With Celery."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from django_sse import finish, publish
from django_sse.exceptions import LogUnavailable

from .jobs import run
from .models import Report
from .pages import Busy, pages


@shared_task
def count(channel: str, total: int) -> None:
    for number in range(1, total + 1):
        publish(channel, {"percent": 100 * number // total}, event="progress")
    finish(channel)


@shared_task(acks_late=True, autoretry_for=(LogUnavailable,), retry_backoff=True, max_retries=10)
def announce_payment(pk: int) -> None:
    publish(f"order-{pk}", {"status": "paid"}, event="status", key=f"order-{pk}-paid")


@shared_task(
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(Busy,),
    max_retries=3,
    default_retry_delay=1,
)
def write(self: Any, pk: str) -> None:
    report = Report.objects.get(pk=pk)
    last = self.request.retries == self.max_retries
    run(report, pages(report), retried=() if last else (Busy,))
