"""Views that publish many events, as fast as they can, and answer with each one's id and data."""

from __future__ import annotations

import asyncio
import os

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_sse import apublish, publish

# Coroutines that publish at the same time, each a publisher of its own: no order holds among them.
LANES = 5


def _asked(request: HttpRequest) -> tuple[str, range]:
    """The publisher, and the `count` numbers from `first` on that it is to publish."""
    first, count = int(request.GET["first"]), int(request.GET["count"])
    return request.GET["publisher"], range(first, first + count)


@csrf_exempt
def publish_burst(request: HttpRequest, name: str) -> JsonResponse:
    publisher, numbers = _asked(request)
    published = {publish(name, data): data for data in (f"{publisher} {n}" for n in numbers)}
    return JsonResponse({"pid": os.getpid(), "published": published})


@csrf_exempt
async def apublish_burst(request: HttpRequest, name: str) -> JsonResponse:
    publisher, numbers = _asked(request)
    published: dict[str | None, str] = {}

    async def lane(number: int) -> None:
        for data in (f"{publisher}.{number} {n}" for n in numbers[number::LANES]):
            published[await apublish(name, data)] = data

    await asyncio.gather(*map(lane, range(LANES)))
    return JsonResponse({"pid": os.getpid(), "published": published})


urlpatterns = [
    path("publish_burst/<name>/", publish_burst),
    path("apublish_burst/<name>/", apublish_burst),
]
