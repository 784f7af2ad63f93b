"""Views for clients that read slowly or not at all, and for what is left of them."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_sse import event_stream, publish, subscribe
from django_sse.hub import registry
from django_sse.streams import pulse
from django_sse.trust import slots
from tests.project.views import note


def _flood(name: str, count: int, rate: float, size: int) -> None:
    padding = "x" * size
    start = time.monotonic()
    try:
        for number in range(count):
            # A pace, and no wait for anything.
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            publish(name, f"{number} {time.time()} {padding}")
    finally:
        connections.close_all()


def flood(request: HttpRequest, name: str) -> HttpResponse:
    """Publishes in the background: ``count`` events of ``size`` bytes, ``rate`` a second; each
    begins with its number and the time."""
    count, rate, size = (int(request.GET[key]) for key in ("count", "rate", "size"))
    threading.Thread(target=_flood, args=(name, count, rate, size), daemon=True).start()
    return HttpResponse("begun")


def trim(request: HttpRequest, name: str) -> HttpResponse:
    call_command("sse_trim", name, count=int(request.GET["count"]), verbosity=0)
    return HttpResponse("trimmed")


def _silence_limits() -> Iterator[int]:
    """TCP_USER_TIMEOUT of this process's connections to clients, in ms, where it is set."""
    for name in os.listdir("/proc/self/fd"):
        # Closed between the listing and the look, or not a client's.
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    connection.getpeername()
                    yield connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def state(request: HttpRequest) -> JsonResponse:
    """What this process holds of streams, after a garbage collection."""
    gc.collect()
    hubs = registry._hubs.all()
    return JsonResponse(
        {
            "streams": sum(len(each.streams) for each in pulse.running().values()),
            "slots": len(slots._all),
            "waiters": sum(len(topic.waiters) for hub in hubs for topic in hub.topics.values()),
            "threads": threading.active_count(),
            "silence_limits": sorted(filter(None, _silence_limits())),
        }
    )


@event_stream
async def noting(request: HttpRequest, name: str) -> Any:
    """A subscription that notes ``<name> closed``."""
    return subscribe(name, on_close=lambda: note(f"{name} closed"))


@event_stream
def noting_sync(request: HttpRequest, name: str) -> Any:
    return subscribe(name, on_close=lambda: note(f"{name} closed"))


@csrf_exempt
@event_stream
async def reads_body(request: HttpRequest) -> Any:
    """A stream of a view that wants the body first."""
    yield len(request.body)


urlpatterns = [
    path("slow/flood/<name>/", flood),
    path("slow/trim/<name>/", trim),
    path("slow/state/", state),
    path("slow/noting/<name>/", noting),
    path("slow/noting_sync/<name>/", noting_sync),
    path("slow/reads_body/", reads_body),
]
