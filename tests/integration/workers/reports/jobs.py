"""A report is a generator of events; whoever runs it, it is published the same way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from django_sse import Event

from .models import Report

STARTED = Event({}, event="started")
FAILED = Event({"error": "The report could not be written.", "code": "error"}, event="error")
LOST = Event({"error": "The report was interrupted.", "code": "interrupted"}, event="error")
STOPPED = Event({"error": "The report was stopped.", "code": "aborted"}, event="error")


def run(report: Report, events: Iterable[Any], retried: tuple[type[Exception], ...] = ()) -> None:
    """Publish what `events` gives, then the end; after an error that is `retried`, none."""
    attempt = uuid4()
    # A page that has shown what an earlier attempt wrote begins anew at this event.
    if not report.say(STARTED, by=attempt):
        return
    try:
        for event in events:
            if not report.say(event, by=attempt, attempt=attempt):
                return
    except retried:
        raise
    except Exception:
        report.end("error", FAILED, attempt=attempt)
        raise
    report.end("done", attempt=attempt)


def finish_lost(silence: timedelta) -> int:
    """End the reports that have published nothing for so long; how many there were."""
    lost = Report.objects.filter(ended=False, seen__lt=timezone.now() - silence)
    return sum(report.end("error", LOST, seen=report.seen) for report in lost)
