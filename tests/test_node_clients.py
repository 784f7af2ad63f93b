"""The EventSource libraries of npm against the running demo: each reconnects, resumes and stops."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.demo.shell import manage
from tests.proxy import Proxy
from tests.requirements import NODE_CLIENTS
from tests.servers import DEMO_SITE, Server

pytestmark = pytest.mark.needs("node-clients", "daphne")

LIBRARIES = ("eventsource", "event-source-polyfill")
# The client gives up by itself after this long, and the test with it.
TIMEOUT = ("--timeout", "120000")

Line = dict[str, Any]


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with Server("runserver-daphne", site=DEMO_SITE, env={"DEMO_PACE": "0.1"}) as server:
        yield server


class NodeClient:
    """One run of ``client.mjs``: what it printed so far, and what it prints next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.lines: list[Line] = []

    def until(self, wanted: Callable[[Line], bool]) -> Line:
        """Read on to the first line that is ``wanted``; fail where there is none."""
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self.lines.append(json.loads(text))
            if wanted(self.lines[-1]):
                return self.lines[-1]
        pytest.fail(f"the client ended without it; it saw {self.lines}")

    def until_message(self, text: str) -> Line:
        return self.until(lambda line: said(line) == text)

    def messages(self) -> list[str]:
        return [text for line in self.lines if (text := said(line)) is not None]

    def ids(self) -> list[int]:
        """The sequence numbers of the events, as they came."""
        ids = [line["lastEventId"] for line in self.lines if line["kind"] == "event"]
        return [int(each.rpartition("-")[2]) for each in ids]


def said(line: Line) -> str | None:
    """The text of a chat message; None for any other line."""
    if line["kind"] != "event" or line["type"] != "usermessage":
        return None
    text: str = json.loads(line["data"])["text"]
    return text


@contextmanager
def node_client(library: str, url: str, *options: str) -> Iterator[NodeClient]:
    command = ["node", "client.mjs", library, url, *options, *TIMEOUT]
    with subprocess.Popen(command, cwd=NODE_CLIENTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield NodeClient(process)
        finally:
            process.terminate()


@contextmanager
def talker(demo: Server, room: str) -> Iterator[Callable[..., None]]:
    """Says things in a room, as a page does."""
    with httpx.Client(base_url=demo.url, timeout=60, trust_env=False) as client:
        client.get(f"/chat/{room}/").raise_for_status()
        token = client.cookies["csrftoken"]

        def say(*texts: str) -> None:
            for text in texts:
                answer = client.post(
                    f"/chat/{room}/messages/", json={"text": text}, headers={"X-CSRFToken": token}
                )
                assert answer.status_code == 201, answer.text

        yield say


@pytest.mark.parametrize(
    ("library", "room"), [("eventsource", "lobby"), ("event-source-polyfill", "general")]
)
def test_a_client_that_is_cut_comes_back_misses_nothing_and_stops_at_the_end(
    demo: Server, library: str, room: str
) -> None:
    types = "userconnect,userdisconnect,usermessage,stream-open,stream-reset"
    with Proxy(demo.port) as proxy, talker(demo, room) as say:
        url = f"{proxy.url}/chat/{room}/events/"
        with node_client(library, url, "--types", types, "--close-on", "close") as client:
            client.until(lambda line: line.get("type") == "userconnect")
            say("before")
            client.until_message("before")
            proxy.refuse()
            proxy.cut()
            client.until(lambda line: line["kind"] == "error")
            say("one", "two")
            proxy.restore()
            client.until_message("two")
            say("after")
            client.until_message("after")
            code = f"import sys, django_sse; sys.exit(not django_sse.finish('chat-{room}'))"
            manage(demo, "shell", "-c", code)
            end = client.until(lambda line: line["kind"] == "end")
    assert end["reason"] == "close-on"
    assert client.messages() == ["before", "one", "two", "after"]
    assert [line["kind"] for line in client.lines].count("open") == 2
    assert not [line for line in client.lines if line.get("type") == "stream-reset"]
    assert client.ids()[:-1] == sorted(client.ids()[:-1])


def test_a_204_stops_a_client_that_knows_nothing_of_the_terminal_event(demo: Server) -> None:
    # Not the polyfill: it takes a 204 for a lost connection (see client.mjs).
    with node_client("eventsource", f"{demo.url}/interval/events/") as client:
        end = client.until(lambda line: line["kind"] == "end")
    assert end == {"kind": "end", "reason": "closed", "readyState": 2}
    assert client.ids() == [1, 2, 3, 4, 5]
    assert [line["kind"] for line in client.lines].count("open") == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_ids_resume_a_stream_that_is_cut_in_the_middle(demo: Server, library: str) -> None:
    with Proxy(demo.port) as proxy:
        url = f"{proxy.url}/interval/events/"
        with node_client(library, url, "--count", "5") as client:
            client.until(lambda line: line.get("lastEventId") == "1")
            proxy.cut()
            client.until(lambda line: line["kind"] == "end")
    assert client.ids() == [1, 2, 3, 4, 5]
