"""With `django.tasks`, or its backport on Django 5.2."""

from __future__ import annotations

from django_sse import afinish, apublish
from tests.integration.workers.reports.decorator import task

from .jobs import run
from .models import Report
from .pages import pages


@task
def write(pk: str) -> None:
    report = Report.objects.get(pk=pk)
    run(report, pages(report))


@task
async def count(channel: str, total: int) -> None:
    for number in range(1, total + 1):
        await apublish(channel, {"percent": 100 * number // total}, event="progress")
    await afinish(channel)
