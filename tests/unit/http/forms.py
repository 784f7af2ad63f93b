"""The same two events from a view of every form, and how Django calls them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.utils.decorators import method_decorator
from django.views import View

from django_sse import Event, event_stream


async def items() -> AsyncIterator[str]:
    yield "one"
    yield "two"


def sync_items() -> Iterator[str]:
    yield "one"
    yield "two"


@event_stream
async def async_generator(request: Any) -> AsyncIterator[str]:
    yield "one"
    yield "two"


@event_stream
def sync_generator(request: Any) -> Iterator[str]:
    yield "one"
    yield "two"


@event_stream
async def async_function(request: Any) -> AsyncIterator[str]:
    return items()


@event_stream
async def async_function_of_sync(request: Any) -> Iterator[str]:
    return sync_items()


@event_stream
def sync_function(request: Any) -> Iterator[str]:
    return sync_items()


@event_stream
def sync_function_of_async(request: Any) -> AsyncIterator[str]:
    return items()


class Direct(View):
    @event_stream
    async def get(self, request: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"


class DirectSync(View):
    @event_stream
    def get(self, request: Any) -> Iterator[str]:
        yield "one"
        yield "two"


class Decorated(View):
    @method_decorator(event_stream)
    async def get(self, request: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"


class DecoratedFunction(View):
    @method_decorator(event_stream)
    async def get(self, request: Any) -> AsyncIterator[str]:
        return items()


class DecoratedSync(View):
    @method_decorator(event_stream)
    def get(self, request: Any) -> Iterator[str]:
        yield "one"
        yield "two"


@method_decorator(event_stream(terminal=None), name="get")
class DecoratedByName(View):
    async def get(self, request: Any) -> AsyncIterator[Any]:
        yield "one"
        yield "two"
        yield Event("[DONE]", event="close", id="!end")


FORMS = {
    "async generator": async_generator,
    "sync generator": sync_generator,
    "async function": async_function,
    "async function of a sync generator": async_function_of_sync,
    "sync function": sync_function,
    "sync function of an async generator": sync_function_of_async,
    "method": Direct.as_view(),
    "sync method": DirectSync.as_view(),
    "method through method_decorator": Decorated.as_view(),
    "function through method_decorator": DecoratedFunction.as_view(),
    "sync method through method_decorator": DecoratedSync.as_view(),
    "method by name, with an option": DecoratedByName.as_view(),
}
every_form = pytest.mark.parametrize("form", FORMS)


async def call(view: Any, request: Any, **kwargs: Any) -> Any:
    """As Django calls a view under ASGI: a sync one in a thread."""
    if iscoroutinefunction(view):
        return await view(request, **kwargs)
    result = await sync_to_async(view)(request, **kwargs)
    return await result if inspect.isawaitable(result) else result


def call_in_thread(view: Any, request: Any) -> Any:
    """As Django calls a view under WSGI."""
    if iscoroutinefunction(view):
        return asyncio.run(view(request))
    result = view(request)
    return asyncio.run(_wait_for(result)) if inspect.isawaitable(result) else result


async def _wait_for(result: Any) -> Any:
    return await result
