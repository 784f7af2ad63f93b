"""Answers that survive: relayed text for text, kept in their runs, and stored when they end."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest
from django.http import HttpRequest
from django.test import AsyncClient, Client, RequestFactory

from demo_project.assistant.models import Exchange
from demo_project.assistant.upstream import upstream_for
from demo_project.errors import BadInput
from demo_project.upstream.chunks import completion, cut
from django_sse.runs.keeper import get_keeper
from django_sse.wire import MessageEvent
from tests.integration.demo.streams import events_of, everything
from tests.integration.demo.upstreams import HEAD, Upstream, running
from tests.servers import DEMO_SITE, Server

URL = "/assistant/answers/"
WORDS = ["Grüße", ", ", "日本", "語\u2028", "\n\n", "data: x", "🦦"]
PATIENCE = 30

pytestmark = pytest.mark.django_db(transaction=True)


def answer(words: list[str] = WORDS) -> bytes:
    return b"".join(cut(completion("m", words)))


def beginning(words: list[str]) -> bytes:
    """The chunks of an answer that does not end."""
    return b"".join(cut([*completion("m", words)][:-2]))


async def ask(client: AsyncClient, prompt: str = "hi", **fields: object) -> Any:
    fields = {"prompt": prompt, **fields}
    return await client.post(URL, fields, content_type="application/json")


def text_of(events: list[MessageEvent]) -> str:
    return "".join(event.data for event in events if event.type == "message")


@asynccontextmanager
async def half_an_answer(client: AsyncClient, demo: Any) -> AsyncIterator[tuple[Upstream, str]]:
    """An upstream that has said "half" and is silent, and the run's address; stopped at the end."""
    async with running([HEAD, beginning(["half"])], end="hold") as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        response = await ask(client)
        async with aclosing(events_of(response)) as events:
            while (await asyncio.wait_for(anext(events), PATIENCE)).data != "half":
                pass
        (task,) = get_keeper().tasks.values()
        yield upstream, response["Location"]
        await stop(client, response["Location"])
        await task.ended(PATIENCE)


async def stop(client: AsyncClient, location: str) -> Any:
    return await client.post(location.replace("/events/", "/stop/"))


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_relays_text_for_text_whatever_the_cuts(
    async_client: AsyncClient, demo: Any, size: int
) -> None:
    sent = answer()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    async with running([HEAD, *pieces]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        events = await everything(await ask(async_client))
    assert [event.data for event in events if event.type == "message"] == WORDS
    assert [event.type for event in events if event.type != "message"] == ["stream-open", "close"]
    exchange = await Exchange.objects.aget()
    assert (exchange.state, exchange.answer) == ("whole", "".join(WORDS))
    assert exchange.problem == ""


async def test_asks_upstream_as_openai_is_asked_and_tells_it_what_was_said_before(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([HEAD, answer(["Because", "."])]) as upstream:
        demo.OPENAI_BASE_URL, demo.OPENAI_API_KEY = f"{upstream.url}/", "sk-secret"
        demo.OPENAI_MODEL = "some-model"
        await everything(await ask(async_client, "  Why?  "))
        await everything(await ask(async_client, "Really?"))
    first, second = upstream.requests
    assert first["line"] == "POST /v1/chat/completions HTTP/1.1"
    assert first["headers"]["authorization"] == "Bearer sk-secret"
    why = {"role": "user", "content": "Why?"}
    assert first["body"] == {"model": "some-model", "stream": True, "messages": [why]}
    because = {"role": "assistant", "content": "Because."}
    really = {"role": "user", "content": "Really?"}
    assert second["body"]["messages"] == [why, because, really]


async def test_an_incomplete_answer_and_somebody_elses_are_not_told_upstream(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([HEAD, beginning(["half"])]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        await everything(await ask(async_client, "incomplete"))
        await everything(await ask(AsyncClient(), "of somebody else"))
        await everything(await ask(async_client, "next"))
    assert upstream.requests[-1]["body"]["messages"] == [{"role": "user", "content": "next"}]


async def test_the_answer_goes_on_without_its_page_and_any_window_of_it_joins(
    async_client: AsyncClient, demo: Any
) -> None:
    async with half_an_answer(async_client, demo) as (upstream, location):
        assert not upstream.left.is_set()
        async with aclosing(events_of(await async_client.get(location))) as events:
            joined = [(await asyncio.wait_for(anext(events), PATIENCE)).data for _ in range(2)]
        assert joined == ["{}", "half"]
        assert (await AsyncClient().get(location)).status_code == 404
        page = (await async_client.get("/assistant/")).content.decode()
        assert f'data-state="open" data-location="{location}"' in page


async def test_a_stop_closes_the_upstream_and_keeps_what_was_said(
    async_client: AsyncClient, demo: Any
) -> None:
    async with half_an_answer(async_client, demo) as (upstream, location):
        assert (await stop(async_client, location)).json() == {"stopped": True}
        await asyncio.wait_for(upstream.left.wait(), PATIENCE)
    exchange = await Exchange.objects.aget()
    assert (exchange.state, exchange.answer) == ("incomplete", "half")
    assert exchange.problem == "The answer was stopped before its end."
    events = await everything(await async_client.get(location))
    assert json.loads(events[-1].data)["code"] == "aborted"


async def test_a_position_goes_on_with_its_answer_and_asks_nothing(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([HEAD, answer(["one", "two", "three"])]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        events = await everything(await ask(async_client))
        seen = events[1].last_event_id
        rest = await everything(
            await async_client.post(URL, {"prompt": "hi"}, headers={"last-event-id": seen})
        )
    assert text_of(rest) == "twothree"
    assert len(upstream.requests) == await Exchange.objects.acount() == 1


async def test_other_windows_hear_what_is_asked_and_what_was_answered(
    async_client: AsyncClient, demo: Any
) -> None:
    page = await async_client.get("/assistant/")
    position = {"last-event-id": page.context["cursor"]}
    async with running([HEAD, answer(["yes"])]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        response = await ask(async_client, "Well?", key="k-1")
        location = response["Location"]
        await everything(response)
    heard: dict[str, Any] = {}
    stream = await async_client.get("/assistant/events/", headers=position)
    async with aclosing(events_of(stream)) as events:
        while len(heard) < 2:
            event = await asyncio.wait_for(anext(events), PATIENCE)
            if event.type in {"asked", "answered"}:
                heard[event.type] = json.loads(event.data)
    assert heard["asked"]["key"] == "k-1"
    assert heard["asked"]["location"] == location
    assert heard["answered"]["answer"] == "yes"
    assert heard["asked"]["id"] == heard["answered"]["id"]


async def test_who_leaves_before_the_first_word_finds_the_run_on_the_page(
    serve: Callable[..., Server],
) -> None:
    async with running([HEAD], end="hold") as upstream:
        environment = {"OPENAI_BASE_URL": upstream.url}
        site = await asyncio.to_thread(serve, "uvicorn", site=DEMO_SITE, env=environment)
        async with httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as client:
            await client.get("/assistant/")
            headers = {"X-CSRFToken": client.cookies["csrftoken"]}
            asked = asyncio.create_task(client.post(URL, json={"prompt": "hi"}, headers=headers))
            await asyncio.wait_for(upstream.asked.wait(), PATIENCE)
            asked.cancel()
            await asyncio.wait({asked})
            location = None
            async with asyncio.timeout(PATIENCE):
                while location is None:
                    page = (await client.get("/assistant/")).text
                    location = re.search(r'data-state="open" data-location="(/runs/.+?)"', page)
            stop = location[1].replace("/events/", "/stop/")
            assert (await client.post(stop, headers=headers)).json() == {"stopped": True}
            await asyncio.wait_for(upstream.left.wait(), PATIENCE)


async def test_who_asks_too_much_at_once_is_refused_without_a_trace(
    async_client: AsyncClient, demo: Any
) -> None:
    demo.DJANGO_SSE = {**demo.DJANGO_SSE, "LIMITS": {"RUNS_PER_OWNER": 1}}
    async with half_an_answer(async_client, demo):
        refused = await ask(async_client)
        assert refused.status_code == 429
        assert int(refused["Retry-After"]) > 0
        assert "Stop one, or wait for its end" in refused.json()["error"]
        assert await Exchange.objects.acount() == 1


LENGTH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
ERROR = b'data: {"error":{"message":"secret","type":"overloaded_error"}}\n\n'
HALF = beginning(["half"])
FAILURES: dict[str, tuple[Any, str, str]] = {
    "500": ([b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret"], "close", "500"),
    "401": ([b"HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\nsecret"], "close", "401"),
    "429": (
        [b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 6\r\n\r\nsecret"],
        "close",
        "Ask again in 7 s",
    ),
    "not HTTP": ([b"\x00\x01\x02 garbage\r\n\r\n"], "close", "failed"),
    "no answer": ([], "reset", "failed"),
    "html": (
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>secret</p>"],
        "close",
        "event stream",
    ),
    "bytes": ([HEAD, b"\xff\xfe\x00 secret \n\n" * 20], "close", "not an event stream"),
    "not JSON": ([HEAD, b"data: secret\n\ndata: [DONE]\n\n"], "close", "not JSON"),
    "JSON, no object": ([HEAD, b'data: ["secret"]\n\ndata: [DONE]\n\n'], "close", "dialect"),
    "no end of line": (
        itertools.chain([HEAD, b"data: "], itertools.repeat(b"s" * 4096)),
        "close",
        "too long",
    ),
    "end in the middle": ([HEAD, HALF, b'data: {"n'], "close", "ended before"),
    "reset in the middle": ([HEAD, HALF, b'data: {"n'], "reset", "before"),
    "no [DONE]": ([HEAD, HALF], "close", "ended before"),
    "error in the middle": ([HEAD, HALF, ERROR], "close", "overloaded_error"),
    "out of tokens": ([HEAD, HALF, LENGTH, b"data: [DONE]\n\n"], "close", "length"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_whatever_fails_upstream_ends_the_stream_with_one_error_and_is_stored(
    async_client: AsyncClient, demo: Any, name: str
) -> None:
    pieces, end, reason = FAILURES[name]
    async with running(pieces, end) as upstream:
        demo.OPENAI_BASE_URL, demo.OPENAI_API_KEY = upstream.url, "sk-secret"
        events = await everything(await ask(async_client))
    assert [event.type for event in events][-1] == "error"
    assert [event.type for event in events].count("error") == 1
    message = json.loads(events[-1].data)["error"]
    assert reason in message
    assert message.endswith(".")
    for private in ("secret", "127.0.0.1", "Traceback", upstream.url):
        assert private not in message
    exchange = await Exchange.objects.aget()
    assert (exchange.state, exchange.problem) == ("incomplete", message)
    assert exchange.answer == text_of(events)


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
        ({"key": "k" * 41}, "the limit is 40"),
        ({"key": 5}, '"key"'),
    ],
)
async def test_a_bad_question_is_refused_before_anything_begins(
    async_client: AsyncClient, fields: dict[str, object], complaint: str
) -> None:
    response = await ask(async_client, **({"prompt": "hi"} | fields))  # type: ignore[arg-type]
    assert response.status_code == 400
    assert complaint in response.json()["error"]
    assert await Exchange.objects.acount() == 0


async def test_the_page_has_the_history_of_its_own_visitor(
    async_client: AsyncClient, demo: Any
) -> None:
    async with running([HEAD, answer(["<b>forty-two</b>"])]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        await everything(await ask(async_client, "What is it?"))
    page = (await async_client.get("/assistant/")).content.decode()
    assert "What is it?" in page
    assert "&lt;b&gt;forty-two&lt;/b&gt;" in page
    assert "What is it?" not in (await AsyncClient().get("/assistant/")).content.decode()


async def test_a_new_conversation_forgets_ones_own_and_no_other(
    async_client: AsyncClient, demo: Any
) -> None:
    other = AsyncClient()
    async with running([HEAD, answer()]) as upstream:
        demo.OPENAI_BASE_URL = upstream.url
        for client in (async_client, other):
            await everything(await ask(client))
    assert (await async_client.post("/assistant/forget/")).json() == {"forgotten": True}
    assert "Nothing asked yet." in (await async_client.get("/assistant/")).content.decode()
    assert (await Exchange.objects.aget()).answer == "".join(WORDS)


async def test_an_answer_that_is_forgotten_on_its_way_ends_all_the_same(
    async_client: AsyncClient, demo: Any
) -> None:
    async with half_an_answer(async_client, demo) as (_, location):
        await async_client.post("/assistant/forget/")
    events = await everything(await async_client.get(location))
    assert events[-1].type == "error"
    assert await Exchange.objects.acount() == 0


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
