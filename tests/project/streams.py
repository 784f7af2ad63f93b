"""Views of the suite over real servers: generators that do one thing each, on the test's word."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib.auth import aget_user
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import get_language
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django_sse import EventStreamResponse, event_stream, finish, last_event_id, subscribe
from tests.project.views import note

# -- gates: a generator waits at one until a second request opens it

_gates: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))


@csrf_exempt
def open_gate(request: HttpRequest, name: str) -> HttpResponse:
    """Lets one generator go one step further."""
    _gates[name].release()
    return HttpResponse("open")


async def _pass_gate(name: str) -> None:
    await asyncio.to_thread(_gates[name].acquire)


# -- the same three steps in every form a view can have


async def _steps(request: HttpRequest) -> AsyncIterator[Any]:
    for number in range(3):
        yield {"step": number}
        await _pass_gate(request.GET["name"])


def _steps_sync(request: HttpRequest) -> Iterator[Any]:
    for number in range(3):
        yield {"step": number}
        _gates[request.GET["name"]].acquire()


@event_stream
async def async_generator(request: HttpRequest) -> AsyncIterator[Any]:
    async for step in _steps(request):
        yield step


@event_stream
def sync_generator(request: HttpRequest) -> Iterator[Any]:
    yield from _steps_sync(request)


@event_stream
async def async_function(request: HttpRequest) -> AsyncIterator[Any]:
    return _steps(request)


@event_stream
async def async_function_of_sync(request: HttpRequest) -> Iterator[Any]:
    return _steps_sync(request)


@event_stream
def sync_function(request: HttpRequest) -> Iterator[Any]:
    return _steps_sync(request)


@event_stream
def sync_function_of_async(request: HttpRequest) -> AsyncIterator[Any]:
    return _steps(request)


class DirectAsync(View):
    @event_stream
    async def get(self, request: HttpRequest) -> AsyncIterator[Any]:
        async for step in _steps(request):
            yield step


class DirectSync(View):
    @event_stream
    def get(self, request: HttpRequest) -> Iterator[Any]:
        yield from _steps_sync(request)


class DecoratedAsync(View):
    @method_decorator(event_stream)
    async def get(self, request: HttpRequest) -> AsyncIterator[Any]:
        async for step in _steps(request):
            yield step


class DecoratedAsyncFunction(View):
    @method_decorator(event_stream)
    async def get(self, request: HttpRequest) -> AsyncIterator[Any]:
        return _steps(request)


class DecoratedSync(View):
    @method_decorator(event_stream)
    def get(self, request: HttpRequest) -> Iterator[Any]:
        yield from _steps_sync(request)


@method_decorator(event_stream, name="get")
class DecoratedByName(View):
    async def get(self, request: HttpRequest) -> AsyncIterator[Any]:
        async for step in _steps(request):
            yield step


async def plain_async(request: HttpRequest) -> EventStreamResponse:
    return EventStreamResponse(_steps(request), request=request)


def plain_sync(request: HttpRequest) -> EventStreamResponse:
    return EventStreamResponse(_steps_sync(request), request=request)


FORMS: dict[str, Any] = {
    "async_generator": async_generator,
    "sync_generator": sync_generator,
    "async_function": async_function,
    "async_function_of_sync": async_function_of_sync,
    "sync_function": sync_function,
    "sync_function_of_async": sync_function_of_async,
    "direct_async_method": DirectAsync.as_view(),
    "direct_sync_method": DirectSync.as_view(),
    "decorated_async_method": DecoratedAsync.as_view(),
    "decorated_async_function_method": DecoratedAsyncFunction.as_view(),
    "decorated_sync_method": DecoratedSync.as_view(),
    "decorated_by_name": DecoratedByName.as_view(),
    "plain_async": plain_async,
    "plain_sync": plain_sync,
}

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
        await asyncio.sleep(0)
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
            _gates[name].acquire(timeout=0.02)
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
        await _pass_gate(name)
        if request.GET.get("fail"):
            raise RuntimeError("secret detail")
        yield "first"
    except asyncio.CancelledError:
        note(f"{name} cancelled")
        raise


@event_stream
def late_sync(request: HttpRequest) -> Iterator[Any]:
    _gates[request.GET["name"]].acquire()
    if request.GET.get("fail"):
        raise RuntimeError("secret detail")
    yield "first"


@event_stream
async def between(request: HttpRequest) -> AsyncIterator[Any]:
    """Waits at the gate between two items, and notes if it is cancelled there."""
    name = request.GET["name"]
    yield "before"
    try:
        await _pass_gate(name)
    except asyncio.CancelledError:
        note(f"{name} cancelled")
        raise
    yield "after"


@event_stream
def between_sync(request: HttpRequest) -> Iterator[Any]:
    yield "before"
    _gates[request.GET["name"]].acquire()
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
async def asks_the_database(request: HttpRequest) -> AsyncIterator[Any]:
    """The ORM and the session before the first item, in between, and again after the gate."""
    request.session["seen"] = "yes"
    await request.session.asave()
    user = await aget_user(request)
    yield {"user": str(user), "count": await User.objects.acount()}
    await _pass_gate(request.GET["name"])
    yield {"count": await User.objects.acount()}


@event_stream
def asks_the_database_sync(request: HttpRequest) -> Iterator[Any]:
    request.session["seen"] = "yes"
    request.session.save()
    yield {"count": User.objects.count()}
    _gates[request.GET["name"]].acquire()
    yield {"count": User.objects.count()}


@event_stream
async def rows(request: HttpRequest) -> AsyncIterator[Any]:
    """A queryset read two rows at a time, a gate after each row."""
    name = request.GET["name"]
    users = User.objects.filter(username__startswith=f"{name}-").order_by("pk")
    async for user in users.aiterator(chunk_size=2):
        yield user.username
        await _pass_gate(name)


@csrf_exempt
async def make_users(request: HttpRequest) -> HttpResponse:
    names = request.GET["names"].split(",")
    await User.objects.abulk_create([User(username=name) for name in names])
    return HttpResponse("made")


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
async def asks_then_waits(request: HttpRequest) -> AsyncIterator[Any]:
    yield {"count": await User.objects.acount()}
    await asyncio.Event().wait()


@event_stream
def sync_orm(request: HttpRequest) -> AsyncIterator[Any]:
    """A sync view that uses the ORM, and a generator that only waits."""
    User.objects.count()

    async def waits() -> AsyncIterator[Any]:
        yield "hello"
        await asyncio.Event().wait()

    return waits()


def _count_sync(name: str) -> Iterator[Any]:
    yield {"count": User.objects.filter(username=name).count()}


async def _count(name: str) -> AsyncIterator[Any]:
    yield {"count": await User.objects.filter(username=name).acount()}


@event_stream
def writes_then_streams(request: HttpRequest) -> Iterator[Any]:
    """The generator asks for what the view has just written."""
    user = User.objects.create(username=request.GET["name"])
    return _count_sync(user.username)


@event_stream
def writes_then_streams_async(request: HttpRequest) -> AsyncIterator[Any]:
    user = User.objects.create(username=request.GET["name"])
    return _count(user.username)


@event_stream
def streams_then_writes(request: HttpRequest) -> Iterator[Any]:
    name = request.GET["name"]
    yield {"count": User.objects.filter(username=name).count()}
    _gates[name].acquire()
    User.objects.create(username=name)
    yield from _count_sync(name)


async def by_hand(request: HttpRequest, name: str) -> EventStreamResponse:
    return EventStreamResponse(subscribe(name), request=request)


@csrf_exempt
def finish_channel(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(str(finish(name)))


def process(request: HttpRequest) -> JsonResponse:
    """This process: its id and the names of its threads."""
    return JsonResponse({"pid": os.getpid(), "threads": [t.name for t in threading.enumerate()]})


urlpatterns = [
    path("open_gate/<name>/", open_gate),
    path("sync_orm/", sync_orm),
    path("streams/by_hand/<name>/", by_hand),
    path("streams/finish/<name>/", finish_channel),
    path("streams/language/", language, name="language"),
    *(path(f"forms/{form}/", view) for form, view in FORMS.items()),
    *(
        path(f"streams/{view.__name__}/", view)
        for view in (
            waiting,
            opening,
            flooding,
            flooding_sync,
            ticking_sync,
            never_awaits,
            holds_scopes,
            late,
            late_sync,
            between,
            between_sync,
            position,
            position_sync,
            asks_the_database,
            asks_the_database_sync,
            language_sync,
            rows,
            make_users,
            asks_then_waits,
            writes_then_streams,
            writes_then_streams_async,
            streams_then_writes,
            process,
        )
    ),
]
