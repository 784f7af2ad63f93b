"""How servers are made to publish."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from benchmarks.peers.control import Control, gate, make_data, tokens

Sent = list[dict[str, Any]]


def scope(method: str, path: str, query: str = "") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": query.encode()}


async def ask(control: Control, asked: dict[str, Any]) -> Sent:
    sent: Sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await control(asked, None, send)
    return sent


class Application:
    """Notes what reaches it, and what is published."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.published: list[tuple[str, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])

    async def publish(self, events: list[tuple[str, dict[str, str]]]) -> None:
        self.published += events


@pytest.mark.parametrize("size", [60, 100, 20480])
def test_data_has_the_size_that_was_asked_for(size: int):
    assert len(json.dumps(make_data(123, size), separators=(",", ":"))) == size


async def test_events_are_spread_over_the_channels():
    app = Application()
    asked = scope("POST", "/publish", "n=5&seq=4&size=100&channels=3")
    sent = await ask(Control(app, app.publish), asked)
    assert [channel for channel, _ in app.published] == [f"bench-{n}" for n in (1, 2, 0, 1, 2)]
    assert [data["event"].split("@")[0] for _, data in app.published] == [
        f"#{number}" for number in range(4, 9)
    ]
    assert sent[0]["status"] == 200
    assert not app.asked


async def test_streams_go_to_the_application():
    app = Application()
    await ask(Control(app, app.publish), scope("GET", "/publish"))
    assert app.asked == ["/publish"]


async def test_generators_wait_at_the_gate_and_then_all_go():
    ready = asyncio.Queue[None]()

    async def read() -> list[str]:
        marks = []
        async for token in tokens():
            marks.append(token["event"].split("@")[0])
            await ready.put(None)
        return marks

    readers = [asyncio.create_task(read()) for _ in range(2)]
    for _ in readers:
        await ready.get()
    await asyncio.sleep(0)
    gate.open(3)
    assert await asyncio.gather(*readers) == [["#0", "#1", "#2", "#3"]] * 2


async def test_generators_may_be_told_their_pace():
    async def read() -> list[float]:
        return [int(token["event"].partition("@")[2][:-1]) / 1e9 async for token in tokens()]

    readers = [asyncio.create_task(read()) for _ in range(2)]
    await asyncio.sleep(0)
    opened = time.monotonic()
    gate.open(5, 100)
    for _, *made in await asyncio.gather(*readers):
        assert len(made) == 5
        # Late at most, never early.
        assert all(each >= opened + number / 100 for number, each in enumerate(made, start=1))
