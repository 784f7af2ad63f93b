"""Five events, then the end without a terminal frame: the ids alone tell when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from django_sse import Event, event_stream, last_event_id

from ..pace import paced


@require_safe
def interval_page(request: HttpRequest) -> HttpResponse:
    """The page with the five lamps."""
    return render(request, "interval/interval.html")


@event_stream(terminal=None)
async def events(request: HttpRequest) -> HttpResponse | AsyncIterator[Event]:
    last = last_event_id(request)
    if last == "5":
        return HttpResponse(status=204)
    return count(after=int(last) if last in {"1", "2", "3", "4"} else 0)


async def count(after: int) -> AsyncIterator[Event]:
    for number in range(after + 1, 6):
        await asyncio.sleep(paced(1))
        yield Event({"number": number}, id=str(number), retry=1000)
