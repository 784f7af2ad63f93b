"""One user of runs, on any server, and what a run's answer is."""

from __future__ import annotations

import json
from typing import Any

from django_sse.wire import MessageEvent
from tests.integration.servers.client import Stream
from tests.servers import Server

END = ("close", "[DONE]")
# Longer than any test.
ENDLESS = "count=100000&pause=0.05"


class Client:
    """One browser: it keeps its session's cookie, and the token that Django wants of a form."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {"csrftoken": "x" * 32}

    def stream(self, server: Server, path: str, last_event_id: str = "", **options: Any) -> Stream:
        """Opens it; `method` and the like as `Stream` has them."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies, "X-CSRFToken": "x" * 32, "Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        stream = Stream(server, path, headers=headers, **options)
        for cookie in (stream.header("Set-Cookie") or "").split(", "):
            name, _, value = cookie.partition(";")[0].partition("=")
            if name == "sessionid":
                self.cookies[name] = value
        return stream

    def post(self, server: Server, path: str) -> Any:
        """The JSON of the answer."""
        with self.stream(server, path, method="POST") as stream:
            while stream.read():
                pass
            assert stream.status == 200, stream.body
            return json.loads(stream.body)

    def status(self, server: Server, address: str) -> Any:
        """The run's state as JSON."""
        with self.stream(server, address.replace("events/", "")) as stream:
            while stream.read():
                pass
            assert stream.status == 200, stream.body
            return json.loads(stream.body)

    def start(self, server: Server, path: str) -> tuple[Stream, str]:
        """A run's stream, past `stream-open`, and its address."""
        stream = self.stream(server, path, method="POST")
        assert stream.status == 200, stream.read()
        assert stream.next().type == "stream-open"
        address = stream.header("Location")
        assert address and address == stream.header("Content-Location")
        return stream, address


def tokens(count: int, first: int = 0) -> list[str]:
    return [f"token {number}" for number in range(first, count)]


def data(events: list[MessageEvent]) -> list[str]:
    return [event.data for event in events if event.type == "message"]


def stop_of(address: str) -> str:
    return address.replace("/events/", "/stop/")


def code(event: MessageEvent) -> str:
    """Why an answer is not whole."""
    assert event.type == "error"
    return str(json.loads(event.data)["code"])
