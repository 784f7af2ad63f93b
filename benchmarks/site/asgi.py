"""The ASGI application, with the handoff unless ``BENCH_HANDOFF`` is 0."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")

from django.core.asgi import get_asgi_application

from benchmarks.peers.control import Control
from django_sse.asgi import EventStreamHandoff

django_application = get_asgi_application()

from django_sse import apublish, apublish_many  # noqa: E402


async def publish(events: list[tuple[str, dict[str, str]]]) -> None:
    if len(events) == 1:
        await apublish(*events[0])
    else:
        await apublish_many(events)


if os.environ.get("BENCH_HANDOFF", "1") == "1":
    application = Control(EventStreamHandoff(django_application), publish)
else:
    application = Control(django_application, publish)
