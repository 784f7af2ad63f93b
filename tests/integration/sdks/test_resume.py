"""An answer that is cut in the middle goes on in each client that can resume: nothing is missing,
nothing comes twice, and nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from demo_project.compatible.answers import script
from django_sse.dialects import Value, get_dialect
from django_sse.wire import Decoder, MessageEvent
from django_sse.wire.event import Event
from tests.node_clients import NodeClient, node_client
from tests.proxy import Proxy
from tests.requirements import in_full
from tests.servers import Server

PROMPT = "What of event streams, reconnecting and café?"
BODIES = {
    "ai-sdk/chat": {"id": "c1", "messages": [{"parts": [{"type": "text", "text": PROMPT}]}]},
    "ag-ui/": {"threadId": "t", "runId": "r", "messages": [{"content": PROMPT}]},
    "openai/v1/responses": {"stream": True, "input": PROMPT},
}
DIALECTS = {
    "ai-sdk/chat": "ai-sdk",
    "ag-ui/": "ag-ui",
    "openai/v1/responses": "openai-responses",
}
# All event types of the dialects; the others name none.
TYPES = ",".join(
    f"response.{name}"
    for name in (
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    )
)
SECONDS = ("--timeout", "120000")

pytestmark = pytest.mark.needs("node-clients", "daphne")


@contextmanager
def started(demo: Server, path: str) -> Iterator[tuple[httpx.Client, str]]:
    """A browser that asked for an answer and left at once; and the path of its run's events."""
    with httpx.Client(base_url=demo.url, timeout=60, trust_env=False) as client:
        with client.stream("POST", f"/compatible/{path}", json=BODIES[path]) as response:
            response.raise_for_status()
        yield client, response.headers["Location"]


def replayed(client: httpx.Client, location: str) -> list[MessageEvent]:
    """The run's events from the first to the last, in one piece."""
    decoder = Decoder()
    with client.stream("GET", location) as response:
        return [event for chunk in response.iter_bytes() for event in decoder.feed(chunk)]


def values(dialect: str, events: list[MessageEvent]) -> list[Value]:
    """What the events mean; texts only, the rest is for the tests of the dialects."""
    decoder = get_dialect(dialect).decoder()
    said = [value for each in events for value in decoder.decode(Event(each.data, each.type))]
    decoder.end()
    return [value for value in said if isinstance(value, str)]


def received(client: NodeClient) -> list[tuple[str, str, str]]:
    return [(each["type"], each["data"], each["lastEventId"]) for each in client.of("event")]


# How each is told that the answer is over, where it does not find out by itself.
@pytest.mark.parametrize(
    ("library", "path", "stop"),
    [
        ("eventsource", "ai-sdk/chat", ()),
        pytest.param("eventsource", "ag-ui/", (), marks=in_full),
        pytest.param("eventsource", "openai/v1/responses", (), marks=in_full),
        pytest.param("event-source-polyfill", "ai-sdk/chat", ("--until", "[DONE]"), marks=in_full),
        ("event-source-polyfill", "openai/v1/responses", ("--close-on", "response.completed")),
        ("fetch-event-source", "ai-sdk/chat", ()),
    ],
)
def test_an_event_source_continues_a_run_that_another_request_started(
    slow_demo: Server, library: str, path: str, stop: tuple[str, ...]
) -> None:
    with Proxy(slow_demo.port) as proxy, started(slow_demo, path) as (browser, location):
        cookie = "; ".join(f"{name}={text}" for name, text in browser.cookies.items())
        url = f"{proxy.url}{httpx.URL(location).path}"
        arguments = (library, url, "--cookie", cookie, "--types", TYPES, *stop, *SECONDS)
        with node_client("client.mjs", *arguments) as client:
            for _ in range(5):
                client.until_kind("event")
            proxy.refuse()
            proxy.cut()
            client.until_kind("error")
            proxy.restore()
            client.until_kind("end")
        whole = replayed(browser, location)
    assert len(client.of("open")) == 2
    assert values(DIALECTS[path], whole) == [v for v in script(PROMPT)[0] if isinstance(v, str)]
    assert received(client) == [(each.type, each.data, each.last_event_id) for each in whole]


@pytest.mark.parametrize("how", ["same", "reload"])
def test_the_ai_sdks_chat_resumes_its_stream(slow_demo: Server, how: str) -> None:
    chat = "/compatible/ai-sdk/chat"
    with (
        Proxy(slow_demo.port) as proxy,
        node_client("resume-chat.mjs", how, f"{proxy.url}{chat}", PROMPT) as client,
    ):
        for _ in range(5):
            client.until_kind("text")
        proxy.cut()
        assert client.until_kind("cut")["name"] == "TypeError"
        answer = client.until_kind("answer")
        again = client.until_kind("again")
    spoken = "".join(v for v in script(PROMPT)[0] if isinstance(v, str))
    assert (answer["text"], answer["reason"]) == (spoken, "stop")
    # The question and one answer; a second resume, after the end, gets 204 and adds nothing.
    assert again["messages"] == 2
    assert [(line["method"], line["status"]) for line in client.of("request")] == [
        ("POST", 200),
        ("GET", 200),
        ("GET", 204),
    ]
    assert {line["path"] for line in client.of("request")[1:]} == {f"{chat}/resumed/stream"}


def test_a_chat_without_an_answer_in_progress_has_nothing_to_resume(demo: Server) -> None:
    response = httpx.get(f"{demo.url}/compatible/ai-sdk/chat/never/stream", trust_env=False)
    assert (response.status_code, response.content) == (204, b"")


def test_a_run_of_another_session_is_not_found(demo: Server) -> None:
    with started(demo, "ai-sdk/chat") as (_, location):
        response = httpx.get(f"{demo.url}{httpx.URL(location).path}", trust_env=False)
    assert response.status_code == 404
