"""Views for tests: every way to write a stream, each with a name that says which."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import aget_user, get_user
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django_sse import (
    ChannelStreamView,
    Event,
    EventStreamResponse,
    ImmediateHttpResponse,
    apublish,
    event_stream,
    publish,
    subscribe,
)
from django_sse.exceptions import StreamError


def note(line: str) -> None:
    """Append to the file that the test reads: what a generator's `finally` did."""
    path = os.environ.get("DJANGO_SSE_TEST_NOTES")
    if path:
        with Path(path).open("a") as file:
            file.write(line + "\n")


@event_stream
async def async_generator(request: HttpRequest):
    for number in range(int(request.GET.get("count", 3))):
        yield Event({"number": number}, event="tick", id=str(number + 1))
        await asyncio.sleep(float(request.GET.get("pause", 0)))


@event_stream
def sync_generator(request: HttpRequest):
    for number in range(int(request.GET.get("count", 3))):
        yield Event({"number": number}, event="tick", id=str(number + 1))
        time.sleep(float(request.GET.get("pause", 0)))


@event_stream
async def async_function(request: HttpRequest):
    async def items():
        yield "first"
        yield "second"

    return items()


@event_stream
def sync_function(request: HttpRequest):
    return ["first", "second"]


@event_stream
def sync_function_of_async(request: HttpRequest):
    async def items():
        yield "first"
        yield "second"

    return items()


class DirectView(View):
    @event_stream
    async def get(self, request: HttpRequest):
        yield "first"


class DecoratedAsyncView(View):
    @method_decorator(event_stream)
    async def get(self, request: HttpRequest):
        yield "first"


class DecoratedSyncView(View):
    @method_decorator(event_stream)
    def get(self, request: HttpRequest):
        yield "first"


@event_stream
async def waits_async(request: HttpRequest):
    """Says hello, then waits for ever; its `finally` leaves a note."""
    name = request.GET.get("name", "async")
    try:
        yield "hello"
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        note(f"{name} finally")


@event_stream
def waits_sync(request: HttpRequest):
    name = request.GET.get("name", "sync")
    try:
        yield "hello"
        while True:
            time.sleep(0.05)
            if request.GET.get("busy"):
                yield "more"
            else:
                yield from ()
            if Path(os.environ["DJANGO_SSE_TEST_NOTES"] + ".stop").exists():
                return
    finally:
        note(f"{name} finally")


@event_stream
def ticks_sync(request: HttpRequest):
    """A sync generator that yields for ever; its `finally` leaves a note."""
    try:
        while True:
            yield "tick"
            time.sleep(0.05)
    finally:
        note("ticks_sync finally")


@event_stream
async def late_first_item(request: HttpRequest):
    await asyncio.sleep(float(request.GET.get("pause", 2)))
    yield "late"


@event_stream
async def never_awaits(request: HttpRequest):
    """Yields without ever waiting."""
    try:
        while True:
            yield "x" * 100
    finally:
        note("never_awaits finally")


@event_stream
async def fails(request: HttpRequest):
    """Raises what the query asks for, before or after the first item."""
    if request.GET.get("after"):
        yield "first"
    match request.GET["error"]:
        case "404":
            raise Http404("no such thing")
        case "403":
            raise PermissionDenied
        case "redirect":
            raise ImmediateHttpResponse(redirect("/ok/"))
        case "stream":
            raise StreamError("the printer is on fire")
        case "json":
            yield {"value": object()}
        case _:
            raise RuntimeError("secret detail")


@event_stream
def fails_sync(request: HttpRequest):
    if request.GET.get("after"):
        yield "first"
    if request.GET["error"] == "404":
        raise Http404("no such thing")
    raise RuntimeError("secret detail")


@event_stream(terminal=None)
async def no_terminal(request: HttpRequest):
    yield Event("only", id="1")


@event_stream(terminal=Event("[DONE]"))
async def bare_done(request: HttpRequest):
    yield "only"


@event_stream(terminal=Event({"ok": True}, event="finished"))
async def custom_terminal(request: HttpRequest):
    yield "only"


_runs = itertools.count(1)


@csrf_exempt
@event_stream
async def counted(request: HttpRequest):
    """Counts how often the generator really ran (a paid call)."""
    yield str(next(_runs))


@event_stream
async def uses_orm(request: HttpRequest):
    """Session, user and ORM in the view's own code, then waits."""
    request.session["seen"] = "yes"
    user = await aget_user(request)
    count = await User.objects.acount()
    yield {"user": str(user), "count": count}
    await asyncio.Event().wait()


@event_stream
async def iterates_queryset(request: HttpRequest):
    """Reads rows slowly, with waits longer than a thread may idle."""
    async for user in User.objects.order_by("pk").aiterator(chunk_size=2):
        yield user.username
        await asyncio.sleep(float(request.GET.get("pause", 0)))


async def plain_response(request: HttpRequest):
    """A response by hand, without the decorator."""

    async def items():
        yield "one"
        yield "two"

    return EventStreamResponse(items(), request=request)


def plain_response_sync(request: HttpRequest):
    return EventStreamResponse(iter(["one", "two"]), request=request)


@event_stream
async def channels(request: HttpRequest, names: str):
    since: Any = request.GET.get("since", "now")
    return subscribe(*names.split("+"), since=int(since) if since.isdigit() else since)


@event_stream
def channels_sync(request: HttpRequest, names: str):
    get_user(request)
    return subscribe(*names.split("+"), since=request.GET.get("since", "now"))


@event_stream
async def channels_with_orm(request: HttpRequest, names: str):
    """What most projects do before they subscribe."""
    await request.session.aset("seen", "yes")
    await aget_user(request)
    await User.objects.acount()
    return subscribe(*names.split("+"))


@event_stream
async def channels_noting(request: HttpRequest, names: str):
    return subscribe(
        *names.split("+"), on_open=lambda: note("opened"), on_close=lambda: note("closed")
    )


class MembersOnly(ChannelStreamView):
    async def get_channels(self):
        return [f"room-{self.kwargs['room']}"]

    async def has_permission(self):
        return self.request.GET.get("password") == "friend"


class MembersOnlySync(ChannelStreamView):
    channels = ("room-1",)

    def has_permission(self):
        return User.objects.filter(username=self.request.GET.get("name", "")).exists()


@csrf_exempt
def publish_view(request: HttpRequest, name: str):
    return JsonResponse({"id": publish(name, request.body.decode(), request.GET.get("event"))})


@csrf_exempt
async def apublish_view(request: HttpRequest, name: str):
    return JsonResponse({"id": await apublish(name, request.body.decode())})


async def threads(request: HttpRequest):
    """How many threads this process has, and their names."""
    return JsonResponse({"names": sorted(thread.name for thread in threading.enumerate())})


async def slow_orm(request: HttpRequest):
    return HttpResponse(str(await sync_to_async(User.objects.count)()))


@csrf_exempt
def publish_from_threads(request: HttpRequest, name: str):
    """`threads` threads of this process publish `count` events each, and say who and which."""

    def work(thread: int) -> None:
        try:
            for number in range(count):
                publish(name, f"{thread} {number}")
        finally:
            connections.close_all()

    count = int(request.GET["count"])
    threads = [
        threading.Thread(target=work, args=(thread,))
        for thread in range(int(request.GET["threads"]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return HttpResponse("done")
