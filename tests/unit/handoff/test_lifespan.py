"""The lifespan protocol: a server that stops waits for the work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from django_sse.asgi import EventStreamHandoff
from django_sse.process import stopping
from django_sse.servers import signals
from tests.unit.hub.support import TIMEOUT

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0"}}


class Server:
    """Its end of the lifespan protocol."""

    def __init__(self, application: Any) -> None:
        self._to: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.ensure_future(
            EventStreamHandoff(application)(dict(SCOPE), self._to.get, self._from.put)
        )

    def say(self, what: str) -> None:
        self._to.put_nowait({"type": f"lifespan.{what}"})

    async def hears(self) -> str:
        async with asyncio.timeout(TIMEOUT):
            return str((await self._from.get())["type"])


class Work:
    """Goes on until it is done."""

    seconds = TIMEOUT

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.done = False
        self.interrupted = False

    def busy(self) -> bool:
        self.asked.set()
        return not (self.done or self.interrupted)

    def interrupt(self) -> None:
        self.interrupted = True


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(signals, "_lifespan", False)
    monkeypatch.setattr("django_sse.streams.pulse._draining_until", 0.0)
    given = Work()
    monkeypatch.setattr(stopping, "_work", [given])
    return given


async def test_django_has_no_lifespan_of_its_own_and_the_server_gets_its_answers(
    work: Work,
) -> None:
    work.done = True
    server = Server(get_asgi_application())
    for what in ("startup", "shutdown"):
        server.say(what)
        assert await server.hears() == f"lifespan.{what}.complete"
    await server.task


async def test_the_answer_to_the_end_waits_for_the_work(work: Work) -> None:
    server = Server(get_asgi_application())
    server.say("startup")
    assert await server.hears() == "lifespan.startup.complete"
    server.say("shutdown")
    await work.asked.wait()
    assert not work.interrupted
    work.done = True
    assert await server.hears() == "lifespan.shutdown.complete"


async def test_work_that_takes_too_long_is_interrupted(work: Work) -> None:
    work.seconds = 0.01
    server = Server(get_asgi_application())
    server.say("shutdown")
    assert await server.hears() == "lifespan.shutdown.complete"
    assert work.interrupted


async def test_an_application_with_a_lifespan_hears_of_the_end_after_the_work(work: Work) -> None:
    heard: list[tuple[str, bool]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            message = await receive()
            heard.append((message["type"], work.done))
            await send({"type": f"{message['type']}.complete"})

    server = Server(application)
    server.say("startup")
    assert await server.hears() == "lifespan.startup.complete"
    server.say("shutdown")
    await work.asked.wait()
    work.done = True
    assert await server.hears() == "lifespan.shutdown.complete"
    await server.task
    assert heard == [("lifespan.startup", False), ("lifespan.shutdown", True)]


async def test_an_application_that_fails_to_start_says_so_to_the_server(work: Work) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("no database")

    server = Server(application)
    server.say("startup")
    with pytest.raises(RuntimeError, match="no database"):
        await server.task
