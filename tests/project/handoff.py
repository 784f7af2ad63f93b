"""Views of the tests of the handoff: what a request's end does, and what still works after it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_sse import EventStreamResponse, event_stream
from tests.project.forms import gates, pass_gate
from tests.project.views import note


class NotingResponse(EventStreamResponse):
    """Notes when Django closes it."""

    name = ""

    def close(self) -> None:
        super().close()
        note(f"{self.name} closed")


async def closing(request: HttpRequest) -> NotingResponse:
    """Goes on after the gate, and notes when its request and when its generator have ended."""
    name = request.GET["name"]

    async def items() -> AsyncIterator[str]:
        try:
            yield "before"
            await pass_gate(name)
            # Whatever nobody holds any more goes now.
            gc.collect()
            yield "after"
            await asyncio.Event().wait()
        finally:
            note(f"{name} ended")

    response = NotingResponse(items(), request=request)
    response.name = name
    return response


async def uncompressed(request: HttpRequest) -> EventStreamResponse:
    """Has thrown away what keeps GZipMiddleware off."""

    async def items() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number} " + "x" * 500

    response = EventStreamResponse(items(), request=request)
    del response.headers["Content-Encoding"]
    return response


@csrf_exempt
@event_stream
async def counts_itself(request: HttpRequest) -> AsyncIterator[Any]:
    """Notes how many of its kind began, and how many have ended."""
    name = request.GET["name"]
    note(f"{name} started")
    try:
        yield "first"
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        note(f"{name} ended")


def _content(request: Any) -> dict[str, Any]:
    """What is asked for, of what the client sent."""
    match request.GET["read"]:
        case "body":
            return {"size": len(request.body), "start": request.body[:10].decode()}
        case "post":
            return dict(request.POST.items())
        case "files":
            files = {name: file.read().decode() for name, file in request.FILES.items()}
            return {**request.POST.dict(), **files}
        case _:
            return {"rest": request.read().decode()[:20]}


def _begin(request: HttpRequest) -> None:
    if size := int(request.GET.get("before", 0)):
        request.read(size)


@csrf_exempt
@event_stream
async def reads(request: HttpRequest) -> AsyncIterator[Any]:
    """Reads what the client sent only after its first item, when the headers are long out."""
    _begin(request)
    yield "first"
    await pass_gate(request.GET["name"])
    yield _content(request)


@csrf_exempt
@event_stream
def reads_sync(request: HttpRequest) -> Iterator[Any]:
    _begin(request)
    yield "first"
    gates[request.GET["name"]].acquire()
    yield _content(request)


async def collects(request: HttpRequest) -> HttpResponse:
    """What a busy process does by itself: drops what only refers to itself."""
    gc.collect()
    return HttpResponse("collected")


urlpatterns = [
    path("handoff/collects/", collects),
    *(
        path(f"handoff/{view.__name__}/", view)
        for view in (closing, uncompressed, counts_itself, reads, reads_sync)
    ),
]
