"""django-eventstream, with its SQLite storage where ``BENCH_DATABASE`` names a file.

``python -m benchmarks.peers.eventstream_app <events>`` makes the database and fills it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import django
from django.conf import settings

DATABASE = os.environ.get("BENCH_DATABASE")
STORAGE = {"EVENTSTREAM_STORAGE_CLASS": "django_eventstream.storage.DjangoModelStorage"}

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE or ":memory:",
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=wal"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django_eventstream"],
    MIDDLEWARE=[],
    ROOT_URLCONF="benchmarks.peers.eventstream_app",
    SECRET_KEY="bench",
    USE_TZ=True,
    **(STORAGE if DATABASE else {}),
)
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.urls import path  # noqa: E402
from django_eventstream import send_event  # noqa: E402
from django_eventstream.views import events as stream_events  # noqa: E402

from benchmarks.peers.control import Control, channel_name, make_data  # noqa: E402


async def publish(events: list[tuple[str, dict[str, str]]]) -> None:
    def send() -> None:
        for channel, data in events:
            send_event(channel, "message", data)

    await sync_to_async(send)()


def stream(request: HttpRequest) -> Any:
    return stream_events(request, channels=[channel_name(request.GET.get("channel", "0"))])


urlpatterns: list[Any] = [path("stream", stream)]
application = Control(get_asgi_application(), publish)


def fill(count: int) -> None:
    call_command("migrate", verbosity=0)
    for seq in range(1, count + 1):
        send_event(channel_name(0), "message", make_data(seq, 100))


if __name__ == "__main__":
    fill(int(sys.argv[1]))
