"""A crowd on a small server: eight threads of gunicorn behind nginx, as documented."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress

import pytest

from tests.integration.many.balancers import Nginx
from tests.looking import eventually
from tests.options import environ
from tests.servers import HOST, Server

pytestmark = [pytest.mark.needs("gunicorn", "nginx"), pytest.mark.timeout(300)]

THREADS = 8
VISITORS = 200
# Seconds: between two visitors, and how long one stays. So some 60 are there at once.
PAUSE = 0.1
STAYS = 6.0
# The aim is 2 s, which a busy machine may miss. It was 6.5 s when streams could take all threads.
SOON = 5.0
RETRY = re.compile(rb"^retry: (\d+)$", re.MULTILINE)


async def fetch(port: int, path: str, accept: str = "*/*") -> bytes:
    """The whole response; a client that is cancelled leaves without a word."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: {accept}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        return await reader.read()
    finally:
        writer.transport.abort()


async def event_source(port: int, path: str) -> None:
    """Reconnect whenever a stream ends, after the time that it has told last."""
    while True:
        response = await fetch(port, path, "text/event-stream")
        assert response.startswith(b"HTTP/1.1 200 "), response
        *_, retry = RETRY.findall(response)
        await asyncio.sleep(int(retry) / 1000)


async def visit(port: int, number: int) -> float:
    """Open a page with a stream, stay for some seconds, and leave; how long the page took."""
    await asyncio.sleep(number * PAUSE)
    started = time.monotonic()
    response = await fetch(port, "/ok/")
    seconds = time.monotonic() - started
    assert response.startswith(b"HTTP/1.1 200 "), response
    with suppress(TimeoutError):
        await asyncio.wait_for(event_source(port, "/channels_sync/bell/"), STAYS)
    return seconds


async def crowd(port: int) -> tuple[list[float], int]:
    """What the pages took, and the most streams that were open at once."""
    visits = [asyncio.create_task(visit(port, number)) for number in range(VISITORS)]
    most = 0
    while not all(each.done() for each in visits):
        most = max(most, await open_streams(port))
        await asyncio.sleep(PAUSE)
    return [each.result() for each in visits], most


async def open_streams(port: int) -> int:
    response = await fetch(port, "/slow/state/")
    found: int = json.loads(response.rpartition(b"\r\n\r\n")[2])["streams"]
    return found


def test_no_page_waits_for_visitors_who_watch_or_have_left() -> None:
    args = ("--threads", str(THREADS))
    with (
        Server("gunicorn-gthread", env=environ(), args=args) as server,
        Nginx([server.port]) as nginx,
    ):
        seconds, most = asyncio.run(crowd(nginx.port))
        # Three quarters: streams are refused, and pages are not.
        assert most == THREADS * 3 // 4
        eventually(lambda: asyncio.run(open_streams(nginx.port)) == 0, server.output)
        assert "Traceback" not in server.output()
    print(f"CROWD: the slowest page took {max(seconds):.2f} s")
    assert max(seconds) < SOON
