"""The EventSource libraries of npm against the running demo: each reconnects, resumes and stops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest

from tests.integration.demo.shell import manage
from tests.node_clients import Line, NodeClient, node_client
from tests.positions import seq_of
from tests.proxy import Proxy
from tests.servers import DEMO_SITE, Server

pytestmark = pytest.mark.needs("node-clients", "daphne")

LIBRARIES = ("eventsource", "event-source-polyfill")
# The client gives up by itself after this long, and the test with it.
TIMEOUT = ("--timeout", "120000")


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with Server("runserver-daphne", site=DEMO_SITE, env={"DEMO_PACE": "0.1"}) as server:
        yield server


def messages(client: NodeClient) -> list[str]:
    return [text for line in client.lines if (text := said(line)) is not None]


def ids(client: NodeClient) -> list[str]:
    """The ids of the events, as they came."""
    return [each["lastEventId"] for each in client.of("event")]


def said(line: Line) -> str | None:
    """The text of a chat message; None for any other line."""
    if line["kind"] != "event" or line["type"] != "usermessage":
        return None
    text: str = json.loads(line["data"])["text"]
    return text


def event_source(library: str, url: str, *options: str) -> AbstractContextManager[NodeClient]:
    return node_client("client.mjs", library, url, *options, *TIMEOUT)


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
        with event_source(library, url, "--types", types, "--close-on", "close") as client:
            client.until(lambda line: line.get("type") == "userconnect")
            say("before")
            client.until(lambda line: said(line) == "before")
            proxy.refuse()
            proxy.cut()
            client.until_kind("error")
            say("one", "two")
            proxy.restore()
            client.until(lambda line: said(line) == "two")
            say("after")
            client.until(lambda line: said(line) == "after")
            code = f"import sys, django_sse; sys.exit(not django_sse.finish('chat-{room}'))"
            manage(demo, "shell", "-c", code)
            end = client.until_kind("end")
    assert end["reason"] == "close-on"
    assert messages(client) == ["before", "one", "two", "after"]
    assert len(client.of("open")) == 2
    assert not [line for line in client.lines if line.get("type") == "stream-reset"]
    seqs = [seq_of(id) for id in ids(client)[:-1]]
    assert seqs == sorted(seqs)


def test_a_204_stops_a_client_that_knows_nothing_of_the_terminal_event(demo: Server) -> None:
    # Not the polyfill: it takes a 204 for a lost connection (see client.mjs).
    with event_source("eventsource", f"{demo.url}/interval/events/") as client:
        end = client.until_kind("end")
    assert end == {"kind": "end", "reason": "closed", "readyState": 2}
    assert ids(client) == ["1", "2", "3", "4", "5"]
    assert len(client.of("open")) == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_ids_resume_a_stream_that_is_cut_in_the_middle(demo: Server, library: str) -> None:
    with Proxy(demo.port) as proxy:
        url = f"{proxy.url}/interval/events/"
        with event_source(library, url, "--count", "5") as client:
            client.until(lambda line: line.get("lastEventId") == "1")
            proxy.cut()
            client.until_kind("end")
    assert ids(client) == ["1", "2", "3", "4", "5"]
