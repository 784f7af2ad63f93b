"""A clock: the simplest stream there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from django_sse import Event, event_stream


@require_safe
def clock_page(request: HttpRequest) -> HttpResponse:
    """The page that shows the clock."""
    return render(request, "clock/clock.html")


@event_stream
async def events(request: HttpRequest) -> AsyncIterator[Event]:
    yield Event({"time": timezone.now()}, event="connecttime", retry=3000)
    while True:
        now = timezone.now()
        yield Event({"time": now}, event="onTimeChanged")
        await asyncio.sleep(1 - now.microsecond / 1_000_000)
