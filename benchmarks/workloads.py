"""One workload in this process, for any tree of the project: ``python workloads.py NAME``.

``benchmarks.pairs`` starts it with a tree's root as the working directory, so it uses only what
every tree has: the public names. The project's own handoff serves the streams and a client in the
same process counts their bytes: no socket and no server, whose own work would hide a difference.

Prints a line of JSON: ``user`` and ``wall`` (seconds of the workload alone, after a short
warm-up), ``peak`` (KiB, of the whole process) and ``work``, which must be alike in all trees.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

Message = dict[str, Any]

ITEMS: Final = 500_000
STREAMS: Final = 100
PUBLISHED: Final = 2_000
STORED: Final = 20_000
READERS: Final = 12
RUNS: Final = 10
TOKENS: Final = 5_000
TEXT: Final = "a token of an answer, made so long that its frame has about a hundred bytes"


def configure(directory: str) -> None:
    """Set up a project of one app with SQLite in ``directory``, as the docs advise it."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="workloads",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "django_sse",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF=__name__,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(directory) / "db.sqlite3"),
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                },
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0, skip_checks=True)


def make_urls() -> list[Any]:
    """The views of all workloads."""
    from django.http import HttpRequest
    from django.urls import include, path

    from django_sse import Event, event_stream, subscribe

    @event_stream
    async def text(request: HttpRequest, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield TEXT

    @event_stream
    async def events(request: HttpRequest, count: int) -> AsyncIterator[Event]:
        for number in range(count):
            yield Event({"number": number, "text": TEXT}, event="token")

    @event_stream
    async def channel(request: HttpRequest, name: str) -> Any:
        return subscribe(name, since="earliest")

    @event_stream(resumable=True)
    async def run(request: HttpRequest, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield TEXT
            await asyncio.sleep(0)

    return [
        path("text/<int:count>/", text),
        path("events/<int:count>/", events),
        path("channel/<str:name>/", channel),
        path("run/<int:count>/", run),
        path("sse/", include("django_sse.urls")),
    ]


def __getattr__(name: str) -> Any:
    # Django asks this module for its URLs at the first request: Django is set up by then.
    if name != "urlpatterns":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, make_urls())


def scope_of(address: str) -> Message:
    """The ASGI scope of an EventSource's request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": address,
        "raw_path": address.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"text/event-stream")],
    }


class Client:
    """One request and the response to it, which is counted and not kept."""

    def __init__(self, application: Any, address: str, expected: int = 0) -> None:
        self._application = application
        self._address = address
        self._expected = expected
        self._left = asyncio.Event()
        self._asked = False
        self.events = 0
        self.opened = asyncio.Event()

    async def receive(self) -> Message:
        """The application's ``receive``: the request, and a disconnect once this has enough."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The application's ``send``."""
        if message["type"] == "http.response.start":
            assert message["status"] in (200, 201), message
        body = message.get("body", b"")
        self.opened.set()
        self.events += body.count(TEXT.encode())
        if self._expected and self.events >= self._expected:
            self._left.set()

    async def run(self) -> int:
        """Ask, read to the end or to the expected count, leave; the number of events."""
        await self._application(scope_of(self._address), self.receive, self.send)
        return self.events


async def text(application: Any) -> int:
    """A generator's strings."""
    return await Client(application, f"/text/{ITEMS}/").run()


async def events(application: Any) -> int:
    """A generator's events with a type and JSON."""
    return await Client(application, f"/events/{ITEMS // 3}/").run()


async def publish(application: Any) -> int:
    """Publishing alone, one transaction an event."""
    from asgiref.sync import sync_to_async

    from django_sse import publish as publish_one

    def publish_all() -> int:
        return sum(publish_one("published", TEXT) is not None for _ in range(PUBLISHED))

    return await sync_to_async(publish_all)()


async def fanout(application: Any) -> int:
    """One publisher, many streams of its channel."""
    from django_sse import apublish

    clients = [Client(application, "/channel/fanout/", PUBLISHED) for _ in range(STREAMS)]
    streams = [asyncio.ensure_future(client.run()) for client in clients]
    for client in clients:
        await client.opened.wait()
    for _ in range(PUBLISHED):
        await apublish("fanout", TEXT)
    return sum(await asyncio.gather(*streams))


async def fill(application: Any) -> None:
    """The log that ``replay`` reads."""
    from django_sse import Event, apublish_many

    for _ in range(STORED // 500):
        await apublish_many([("replay", Event(TEXT))] * 500)


async def replay(application: Any) -> int:
    """A long log, read from its beginning by several clients one after the other."""
    total = 0
    for _ in range(READERS):
        total += await Client(application, "/channel/replay/", STORED).run()
    return total


async def runs(application: Any) -> int:
    """Resumable streams side by side."""
    clients = [Client(application, f"/run/{TOKENS}/") for _ in range(RUNS)]
    return sum(await asyncio.gather(*(client.run() for client in clients)))


Workload = Callable[[Any], Coroutine[Any, Any, int]]
WORKLOADS: Final[dict[str, Workload]] = {
    "text": text,
    "events": events,
    "publish": publish,
    "fanout": fanout,
    "replay": replay,
    "runs": runs,
}


async def serve(workload: str) -> dict[str, float]:
    """Run one workload between the startup and the shutdown of a server."""
    from django_sse.asgi import get_asgi_application

    application = get_asgi_application()
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "lifespan.startup"})

    async def ignore(message: Message) -> None:
        pass

    async def live() -> None:
        with suppress(ValueError):
            await application(
                {"type": "lifespan", "asgi": {"version": "3.0"}}, incoming.get, ignore
            )

    lifespan = asyncio.ensure_future(live())
    await Client(application, "/text/200/").run()
    if workload == "replay":
        await fill(application)
    began, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work = await WORKLOADS[workload](application)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "user": ended.ru_utime - began.ru_utime,
        "wall": time.perf_counter() - wall,
        "peak": float(ended.ru_maxrss),
        "work": float(work),
    }
    incoming.put_nowait({"type": "lifespan.shutdown"})
    await lifespan
    return figures


def main() -> None:
    """Run the workload that the command line names."""
    sys.path.insert(0, os.getcwd())
    with tempfile.TemporaryDirectory() as directory:
        configure(directory)
        print(json.dumps(asyncio.run(serve(sys.argv[1]))), flush=True)


if __name__ == "__main__":
    # Django imports this module by its name; it is to be this one and not a second one.
    sys.modules["workloads"] = sys.modules["__main__"]
    __name__ = "workloads"
    main()
