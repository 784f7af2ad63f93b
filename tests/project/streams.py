"""Views of the suite over real servers: generators that do one thing each, on the test's word."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.utils.translation import get_language
from django.views.decorators.csrf import csrf_exempt

from django_sse import (
    EventStreamResponse,
    apublish,
    event_stream,
    finish,
    last_event_id,
    publish,
    subscribe,
)
from tests.project import forms, orm
from tests.project.forms import gates, pass_gate
from tests.project.views import note

# -- generators whose client leaves; what their `finally` notes is the query's name

_CHUNK = "x" * (32 << 10)


@event_stream
async def waiting(request: HttpRequest) -> AsyncIterator[Any]:
    """Suspended at its own await."""
    name = request.GET["name"]
    try:
        yield "hello"
        await asyncio.Event().wait()
    finally:
        # A clean-up that awaits is one that a cancellation can cut short.
        await asyncio.sleep(float(request.GET.get("cleanup", 0)))
        note(name)


@event_stream
async def opening(request: HttpRequest) -> AsyncIterator[Any]:
    """Has not come to its first item."""
    name = request.GET["name"]
    try:
        note(f"{name} started")
        await asyncio.Event().wait()
        yield "never"
    finally:
        await asyncio.sleep(0)
        note(name)


@event_stream
async def flooding(request: HttpRequest) -> AsyncIterator[Any]:
    """Yields more than a client that does not read can take: suspended at its `yield`."""
    name = request.GET["name"]
    try:
        while True:
            yield _CHUNK
            await asyncio.sleep(0.001)
    finally:
        await asyncio.sleep(0)
        note(name)


@event_stream
def flooding_sync(request: HttpRequest) -> Iterator[Any]:
    name = request.GET["name"]
    try:
        while True:
            yield _CHUNK
    finally:
        note(name)


@event_stream
def ticking_sync(request: HttpRequest) -> Iterator[Any]:
    """Waits in calls of its own, and yields between them."""
    name = request.GET["name"]
    try:
        while True:
            yield "tick"
            gates[name].acquire(timeout=0.02)
    finally:
        note(name)


@event_stream
async def never_awaits(request: HttpRequest) -> AsyncIterator[Any]:
    name = request.GET["name"]
    try:
        while True:
            yield "x" * 100
    finally:
        note(name)


@event_stream
async def opens_late(request: HttpRequest) -> AsyncIterator[Any]:
    name = request.GET["name"]
    note(f"{name} begun")
    try:
        await asyncio.Event().wait()
        yield "never"
    finally:
        note(name)


@event_stream
async def holds_scopes(request: HttpRequest) -> AsyncIterator[Any]:
    """A task group and a time-out stay open across the `yield`; the time-out fires there."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.Event().wait())
        yield "in the group"
        task.cancel()
    try:
        async with asyncio.timeout(0.05):
            yield "before the time-out"
            await asyncio.Event().wait()
    except TimeoutError:
        yield "after the time-out"


# -- the rest


@event_stream
async def late(request: HttpRequest) -> AsyncIterator[Any]:
    """The first item waits for the gate; so does what follows it."""
    name = request.GET["name"]
    try:
        await pass_gate(name)
        if request.GET.get("fail"):
            raise RuntimeError("secret detail")
        yield "first"
    except asyncio.CancelledError:
        note(f"{name} cancelled")
        raise


@event_stream
def late_sync(request: HttpRequest) -> Iterator[Any]:
    gates[request.GET["name"]].acquire()
    if request.GET.get("fail"):
        raise RuntimeError("secret detail")
    yield "first"


@event_stream
async def between(request: HttpRequest) -> AsyncIterator[Any]:
    """Waits at the gate between two items, and notes if it is cancelled there."""
    name = request.GET["name"]
    yield "before"
    try:
        await pass_gate(name)
    except asyncio.CancelledError:
        note(f"{name} cancelled")
        raise
    yield "after"


@event_stream
def between_sync(request: HttpRequest) -> Iterator[Any]:
    yield "before"
    gates[request.GET["name"]].acquire()
    yield "after"


@csrf_exempt
@event_stream
async def position(request: HttpRequest) -> AsyncIterator[Any]:
    """What the client brought, and how."""
    note(f"{request.GET.get('name')} ran")
    yield {"position": last_event_id(request), "method": request.method}


@csrf_exempt
@event_stream
def position_sync(request: HttpRequest) -> Iterator[Any]:
    yield {"position": last_event_id(request), "method": request.method}


@event_stream
async def language(request: HttpRequest) -> AsyncIterator[Any]:
    """What Django keeps for a request's thread, as the generator sees it at each step."""
    for _ in range(2):
        yield [get_language(), reverse("language")]
        await asyncio.sleep(0)


@event_stream
def language_sync(request: HttpRequest) -> Iterator[Any]:
    for _ in range(2):
        yield [get_language(), reverse("language")]


@event_stream
async def publishes(request: HttpRequest) -> AsyncIterator[Any]:
    """Tells a channel what it tells its own client."""
    for number in range(3):
        yield await apublish(request.GET["name"], {"number": number})


@event_stream
def publishes_sync(request: HttpRequest) -> Iterator[Any]:
    for number in range(3):
        yield publish(request.GET["name"], {"number": number})


@event_stream
def publishes_from_a_sync_view(request: HttpRequest) -> AsyncIterator[Any]:
    User.objects.count()

    async def items() -> AsyncIterator[Any]:
        for number in range(3):
            yield await apublish(request.GET["name"], {"number": number})

    return items()


async def by_hand(request: HttpRequest, name: str) -> EventStreamResponse:
    return EventStreamResponse(subscribe(name), request=request)


@csrf_exempt
def finish_channel(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(str(finish(name)))


async def process(request: HttpRequest) -> JsonResponse:
    """This process: its id, the names of its threads, and how many tasks its loop has."""
    threads = [thread.name for thread in threading.enumerate()]
    tasks = len(asyncio.all_tasks())
    return JsonResponse({"pid": os.getpid(), "threads": threads, "tasks": tasks})


urlpatterns = [
    path("streams/by_hand/<name>/", by_hand),
    path("streams/finish/<name>/", finish_channel),
    path("streams/language/", language, name="language"),
    *forms.urlpatterns,
    *orm.urlpatterns,
    *(
        path(f"streams/{view.__name__}/", view)
        for view in (
            waiting,
            opening,
            flooding,
            flooding_sync,
            ticking_sync,
            never_awaits,
            opens_late,
            holds_scopes,
            late,
            late_sync,
            between,
            between_sync,
            position,
            position_sync,
            language_sync,
            publishes,
            publishes_sync,
            publishes_from_a_sync_view,
            process,
        )
    ),
]
