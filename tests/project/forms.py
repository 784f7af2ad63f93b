"""The same three events from a view of every form, each released by a second request."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django_sse import EventStreamResponse, event_stream

# -- gates: a generator waits at one until a second request opens it

gates: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))


@csrf_exempt
def open_gate(request: HttpRequest, name: str) -> HttpResponse:
    """Lets one generator go one step further."""
    gates[name].release()
    return HttpResponse("open")


async def pass_gate(name: str) -> None:
    await asyncio.to_thread(gates[name].acquire)


# -- the same three steps in every form a view can have


async def _steps(request: HttpRequest) -> AsyncIterator[Any]:
    for number in range(3):
        yield {"step": number}
        await pass_gate(request.GET["name"])


def _steps_sync(request: HttpRequest) -> Iterator[Any]:
    for number in range(3):
        yield {"step": number}
        gates[request.GET["name"]].acquire()


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

urlpatterns = [
    path("open_gate/<name>/", open_gate),
    *(path(f"forms/{form}/", view) for form, view in FORMS.items()),
]
