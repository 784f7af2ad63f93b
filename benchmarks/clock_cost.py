"""The cost of loading a clock: the modules and lines that the smallest view makes Python execute.

    python -m benchmarks.clock_cost [--modules]

In a fresh process: a Django project of one app and one view, which yields three events and needs
neither a channel nor a run nor the log. It is served as an ASGI server serves it: startup, one
request, its frames until the stream's end, shutdown. Then every module of ``django_sse`` in
``sys.modules`` counts with all lines of its file, as ``wc -l`` counts them: also blank lines,
comments and docstrings, also what was imported only during the request.

Twice: by Django's own handler, and through the handoff (``django_sse.asgi``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.workloads import Message, scope_of

PACKAGE: Final = "django_sse"
TICKS: Final = 3
TICK_SECONDS: Final = 0.01
TIMEOUT_SECONDS: Final = 30.0
WAYS: Final = {"django": "By Django's own handler", "handoff": "Through the handoff"}
ROOT: Final = Path(__file__).resolve().parent.parent

SCOPE: Final = scope_of("/clock")


def configure() -> None:
    """Set up the project: SQLite, no middleware, no admin, this module as its URLs."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="clock",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.contenttypes", PACKAGE],
        MIDDLEWARE=[],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def make_urls() -> list[Any]:
    """The view, as a user of the library writes it, and its address."""
    from django.http import HttpRequest
    from django.urls import path

    from django_sse import Event, event_stream

    @event_stream
    async def clock(request: HttpRequest) -> AsyncIterator[Event]:
        for number in range(TICKS):
            yield Event({"tick": number}, event="tick")
            await asyncio.sleep(TICK_SECONDS)

    return [path("clock", clock)]


def __getattr__(name: str) -> Any:
    # Django asks this module for its URLs at the first request: Django is set up by then.
    if name != "urlpatterns":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, make_urls())


class Client:
    """The server's side of one connection: what the application receives and what it sends."""

    def __init__(self) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._sent: list[Message] = []

    def say(self, message: Message) -> None:
        """Let the application receive ``message`` next."""
        self._incoming.put_nowait(message)

    async def receive(self) -> Message:
        """The application's ``receive``: waits until there is something."""
        return await self._incoming.get()

    async def send(self, message: Message) -> None:
        """The application's ``send``."""
        self._sent.append(message)

    def body(self) -> bytes:
        """All that was sent so far of the response."""
        return b"".join(message.get("body", b"") for message in self._sent)


async def live(application: Any, client: Client) -> None:
    """The lifespan protocol. Django's own handler refuses it, which a server takes for a no."""
    client.say({"type": "lifespan.startup"})
    with suppress(ValueError):
        await application({"type": "lifespan", "asgi": SCOPE["asgi"]}, client.receive, client.send)


async def watch_clock(application: Any) -> bytes:
    """Start up, read the clock to its end, shut down; the stream's bytes."""
    server, request = Client(), Client()
    lifespan = asyncio.ensure_future(live(application, server))
    await asyncio.sleep(TICK_SECONDS)
    request.say({"type": "http.request", "body": b"", "more_body": False})
    await application(SCOPE, request.receive, request.send)
    server.say({"type": "lifespan.shutdown"})
    await lifespan
    return request.body()


def loaded() -> dict[str, int]:
    """The lines of every module of the package that was executed so far."""
    files = {
        name: module.__file__
        for name, module in sys.modules.items()
        if name.partition(".")[0] == PACKAGE
    }
    return {
        name: Path(file).read_bytes().count(b"\n")
        for name, file in sorted(files.items())
        if file is not None
    }


def make_application(handoff: bool) -> Any:
    """Return the application that the project's ``asgi.py`` would make."""
    from django.core.asgi import get_asgi_application

    if not handoff:
        return get_asgi_application()
    from django_sse.asgi import EventStreamHandoff

    return EventStreamHandoff(get_asgi_application())


def measure_here(handoff: bool) -> dict[str, int]:
    """Serve the clock in this process; what that has loaded."""
    configure()
    clock = watch_clock(make_application(handoff))
    body = asyncio.run(asyncio.wait_for(clock, TIMEOUT_SECONDS))
    if body.count(b"event: tick\n") != TICKS:
        raise SystemExit(f"the clock did not tick: {body!r}")
    return loaded()


def measure(way: str) -> dict[str, int]:
    """The same in a fresh process, which nothing else has imported into."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.clock_cost", "--here", way],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def room_of(module: str) -> str:
    """The top-level room of a module: ``hub/`` for a package, ``conf`` for a file."""
    below = module.split(".")[1:]
    path = ROOT.joinpath(*module.split(".")[:2])
    if not below:
        return "__init__"
    return f"{below[0]}/" if path.is_dir() else below[0]


def report(title: str, lines: dict[str, int], each_module: bool) -> str:
    """The totals and a Markdown table of the rooms, the heaviest first."""
    rooms: dict[str, list[int]] = {}
    for module, count in lines.items():
        rooms.setdefault(room_of(module), []).append(count)
    table = sorted(rooms.items(), key=lambda room: -sum(room[1]))
    text = [f"{title}: {len(lines)} modules, {sum(lines.values()):,} lines", ""]
    text += ["| room | modules | lines |", "|---|--:|--:|"]
    text += [f"| {room} | {len(counts)} | {sum(counts):,} |" for room, counts in table]
    if each_module:
        text += ["", *(f"{count:6,} {module}" for module, count in lines.items())]
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the clock costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clock_cost")
    parser.add_argument("--modules", action="store_true", help="list every module, too")
    parser.add_argument("--here", choices=list(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        print(json.dumps(measure_here(options.here == "handoff")))
        return 0
    for way, title in WAYS.items():
        print(report(title, measure(way), options.modules), end="\n\n")
    return 0


if __name__ == "__main__":
    # Django imports this module by its name; it is to be this one and not a second one.
    sys.modules["benchmarks.clock_cost"] = sys.modules["__main__"]
    sys.exit(main())
