"""The relay: event for event what upstream sent, and one ``event: error`` for all that fails."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import aclosing
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import AsyncClient, Client, RequestFactory

from demo_project.assistant.upstream import upstream_for
from demo_project.errors import BadInput
from demo_project.upstream.chunks import completion, cut
from tests.demo.streams import events_of, everything
from tests.demo.upstreams import HEAD, running

URL = "/assistant/answers/"
WORDS = ["Grüße", ", ", "日本", "語\u2028", "\n\n", "data: x", "🦦"]

pytestmark = pytest.mark.django_db(transaction=True)


def answer() -> bytes:
    return b"".join(cut(completion("m", WORDS)))


async def ask(client: AsyncClient, **fields: object) -> Any:
    return await client.post(URL, {"prompt": "hi", **fields}, content_type="application/json")


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_relays_event_for_event_whatever_the_cuts(
    async_client: AsyncClient, demo: Any, size: int
) -> None:
    sent = answer()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    async with running([HEAD, *pieces]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        events = await everything(await ask(async_client))
    frames = [frame.removeprefix("data: ") for frame in sent.decode().split("\n\n") if frame]
    assert [event.data for event in events] == frames
    assert {event.type for event in events} == {"message"}


async def test_asks_upstream_as_openai_is_asked(async_client: AsyncClient, demo: Any) -> None:
    async with running([HEAD, answer()]) as upstream:
        demo.OPENAI_BASE_URL, demo.OPENAI_API_KEY = f"{upstream.url}/", "sk-secret"
        demo.OPENAI_MODEL = "some-model"
        await everything(await ask(async_client, prompt="  Why?  "))
    request = upstream.requests[0]
    assert request["line"] == "POST /v1/chat/completions HTTP/1.1"
    assert request["headers"]["authorization"] == "Bearer sk-secret"
    assert request["body"] == {
        "model": "some-model",
        "stream": True,
        "messages": [{"role": "user", "content": "Why?"}],
    }


async def test_a_token_reaches_the_page_before_the_next_is_there(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([HEAD, b'data: {"n":1}\n\ndata: {"n"'], end="hold") as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        async with aclosing(events_of(await ask(async_client))) as events:
            assert (await asyncio.wait_for(anext(events), 30)).data == '{"n":1}'


async def test_upstream_is_let_go_when_the_page_leaves(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([HEAD, b'data: {"n":1}\n\n'], end="hold") as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        async with aclosing(events_of(await ask(async_client))) as events:
            await anext(events)
            assert not upstream.left.is_set()
        await asyncio.wait_for(upstream.left.wait(), 30)


FAILURES: dict[str, tuple[Any, str]] = {
    "500": ([b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret"], "close"),
    "401": ([b"HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\nsecret"], "close"),
    "not HTTP": ([b"\x00\x01\x02 garbage\r\n\r\n"], "close"),
    "no answer": ([], "reset"),
    "html": ([b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>secret</p>"], "close"),
    "bytes": ([HEAD, b"\xff\xfe\x00 secret \n\n" * 20], "close"),
    "not JSON": ([HEAD, b"data: secret\n\ndata: [DONE]\n\n"], "close"),
    "JSON, no object": ([HEAD, b'data: ["secret"]\n\ndata: [DONE]\n\n'], "close"),
    "no end of line": (itertools.chain([HEAD, b"data: "], itertools.repeat(b"s" * 4096)), "close"),
    "end in the middle": ([HEAD, b'data: {"n":1}\n\ndata: {"n'], "close"),
    "reset in the middle": ([HEAD, b'data: {"n":1}\n\ndata: {"n'], "reset"),
    "no [DONE]": ([HEAD, b'data: {"n":1}\n\n'], "close"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_whatever_fails_upstream_ends_the_stream_with_one_error(
    async_client: AsyncClient, demo: Any, name: str
) -> None:
    pieces, end = FAILURES[name]
    async with running(pieces, end) as upstream:
        demo.OPENAI_BASE_URL, demo.OPENAI_API_KEY = upstream.url, "sk-secret"
        events = await everything(await ask(async_client))
    assert [event.type for event in events][-1] == "error"
    assert [event.type for event in events].count("error") == 1
    message = json.loads(events[-1].data)["error"]
    assert message.endswith(".")
    for private in ("secret", "127.0.0.1", "Traceback", upstream.url):
        assert private not in message


async def test_an_upstream_that_is_not_there_is_an_error_too(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
    events = await everything(await ask(async_client))
    assert [event.type for event in events] == ["error"]
    assert "could not be reached" in events[0].data


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": None}, "missing"),
        ({"prompt": "x" * 2001}, "the limit is 2000"),
        ({"behaviour": "gpt-4"}, "behaviour"),
        ({"behaviour": ["answer"]}, "behaviour"),
    ],
)
async def test_a_bad_question_is_refused_before_a_stream_starts(
    async_client: AsyncClient, fields: dict[str, object], complaint: str
) -> None:
    response = await ask(async_client, **fields)
    assert response.status_code == 400
    assert complaint in response.json()["error"]


def server(name: str, port: object, **headers: str) -> HttpRequest:
    return RequestFactory().post("/", SERVER_NAME=name, SERVER_PORT=port, headers=headers)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/upstream/v1/chat/completions"),
        ("::1", "http://[::1]:8000/upstream/v1/chat/completions"),
    ],
)
def test_the_stand_in_is_asked_at_the_address_of_the_socket_not_of_the_host_header(
    name: str, url: str
) -> None:
    upstream = upstream_for(server(name, "8000", host="evil.example"), "answer")
    assert upstream.url == url
    assert upstream.headers["Host"] == "localhost"


@pytest.mark.parametrize("port", ["None", "", "0"])
def test_behind_a_socket_without_a_port_the_way_out_is_named(port: str) -> None:
    with pytest.raises(BadInput, match="OPENAI_BASE_URL"):
        upstream_for(server("/run/demo.sock", port), "answer")


def test_the_key_is_in_no_representation(demo: Any) -> None:
    demo.OPENAI_BASE_URL, demo.OPENAI_API_KEY = "http://upstream.example/v1", "sk-secret"
    assert "sk-secret" not in repr(upstream_for(server("127.0.0.1", "80"), "answer"))


def test_the_page_says_when_the_upstream_is_the_stand_in(client: Client, demo: Any) -> None:
    assert "This is a stand-in" in client.get("/assistant/").content.decode()
    demo.OPENAI_BASE_URL, demo.OPENAI_API_KEY = "http://upstream.example/v1", "sk-secret"
    page = client.get("/assistant/").content.decode()
    assert "This is a stand-in" not in page
    assert "sk-secret" not in page
    assert "upstream.example" not in page
