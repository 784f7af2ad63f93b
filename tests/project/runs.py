"""Views whose generators are runs. What their `finally` notes is the query's name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import Http404, HttpRequest
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_sse import event_stream
from django_sse.exceptions import StreamError
from tests.project.views import note


def _number(request: HttpRequest, name: str, default: float) -> float:
    return float(request.GET.get(name, default))


@csrf_exempt
@event_stream(resumable=True)
async def answer(request: HttpRequest) -> AsyncIterator[str]:
    """`count` tokens, and after each one `pause` seconds."""
    name = request.GET.get("name", "")
    note(f"{name} began")
    try:
        for number in range(int(_number(request, "count", 5))):
            yield f"token {number}"
            await asyncio.sleep(_number(request, "pause", 0))
    finally:
        await asyncio.sleep(_number(request, "cleanup", 0))
        note(name)


@csrf_exempt
@event_stream(resumable=True)
def sync_answer(request: HttpRequest) -> Iterator[str]:
    """`answer` in a thread."""
    name = request.GET.get("name", "")
    note(f"{name} began")
    try:
        for number in range(int(_number(request, "count", 5))):
            yield f"token {number}"
            time.sleep(_number(request, "pause", 0))
    finally:
        note(name)


@csrf_exempt
@event_stream(resumable=True)
async def endless(request: HttpRequest) -> AsyncIterator[str]:
    """As fast as it can, and never done."""
    try:
        while True:
            yield "token"
    finally:
        note(request.GET.get("name", ""))


@csrf_exempt
@event_stream(resumable=True)
def sync_endless(request: HttpRequest) -> Iterator[str]:
    """`endless` in a thread."""
    try:
        while True:
            yield "token"
    finally:
        note(request.GET.get("name", ""))


@csrf_exempt
@event_stream(resumable="while_connected")
async def connected(request: HttpRequest) -> AsyncIterator[str]:
    """Goes on until nobody watches it."""
    try:
        for number in range(100_000):
            yield f"token {number}"
            await asyncio.sleep(0.05)
    finally:
        note(request.GET.get("name", ""))


@csrf_exempt
@event_stream(resumable=True)
async def fails(request: HttpRequest) -> AsyncIterator[Any]:
    """Raises where `at` says."""
    at = request.GET.get("at")
    if at == "missing":
        raise Http404("no such thing")
    if at == "text":
        raise StreamError("out of paper")
    if at == "first":
        raise RuntimeError("secret")
    try:
        yield "token 0"
        if at == "middle":
            raise RuntimeError("secret")
        if at == "cannot":
            yield {1, 2}
    finally:
        if at == "finally":
            raise RuntimeError("secret")


@csrf_exempt
@event_stream(resumable=True, dialect="openai-chat")
async def chat(request: HttpRequest) -> AsyncIterator[str]:
    """In a vendor's dialect."""
    for number in range(int(_number(request, "count", 5))):
        yield f"token {number} "
        await asyncio.sleep(_number(request, "pause", 0))


@csrf_exempt
@event_stream(resumable=True)
async def late_body(request: HttpRequest) -> AsyncIterator[str]:
    """Reads its request when Django is done with that."""
    yield "first"
    await asyncio.sleep(_number(request, "pause", 0.3))
    yield request.body.decode()


urlpatterns = [
    path("answer/", answer),
    path("sync_answer/", sync_answer),
    path("endless/", endless),
    path("sync_endless/", sync_endless),
    path("connected/", connected),
    path("late_body/", late_body),
    path("run_fails/", fails),
    path("run_chat/", chat),
]
