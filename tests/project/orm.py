"""Generators that use the ORM and the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib.auth import aget_user
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_sse import event_stream
from tests.project.forms import gates, pass_gate


@event_stream
async def asks_the_database(request: HttpRequest) -> AsyncIterator[Any]:
    """The ORM and the session before the first item, in between, and again after the gate."""
    request.session["seen"] = "yes"
    await request.session.asave()
    user = await aget_user(request)
    yield {"user": str(user), "count": await User.objects.acount()}
    await pass_gate(request.GET["name"])
    yield {"count": await User.objects.acount()}


@event_stream
def asks_the_database_sync(request: HttpRequest) -> Iterator[Any]:
    request.session["seen"] = "yes"
    request.session.save()
    yield {"count": User.objects.count()}
    gates[request.GET["name"]].acquire()
    yield {"count": User.objects.count()}


@event_stream
async def rows(request: HttpRequest) -> AsyncIterator[Any]:
    """A queryset read two rows at a time, a gate after each row."""
    name = request.GET["name"]
    users = User.objects.filter(username__startswith=f"{name}-").order_by("pk")
    async for user in users.aiterator(chunk_size=2):
        yield user.username
        await pass_gate(name)


@csrf_exempt
async def make_users(request: HttpRequest) -> HttpResponse:
    names = request.GET["names"].split(",")
    await User.objects.abulk_create([User(username=name) for name in names])
    return HttpResponse("made")


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
    gates[name].acquire()
    User.objects.create(username=name)
    yield from _count_sync(name)


_VIEWS = (
    asks_the_database,
    asks_the_database_sync,
    rows,
    make_users,
    asks_then_waits,
    writes_then_streams,
    writes_then_streams_async,
    streams_then_writes,
)
urlpatterns = [
    path("sync_orm/", sync_orm),
    *(path(f"streams/{view.__name__}/", view) for view in _VIEWS),
]
