"""relay() with a dialect: values instead of events."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from django_sse.dialects import AnswerDecoder, AnswerEncoder, Dialect, Value, get_dialect
from django_sse.dialects.values import Finish, Start, ToolCall, ToolResult, Usage
from django_sse.exceptions import InexpressibleValue, StreamError
from django_sse.relay import (
    RelayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamFormatError,
    UpstreamStatusError,
    relay,
)
from django_sse.wire import Event, encode
from tests.unit.dialects.support import ANSWER, NAMES, WITH_RESULTS, encoded, remains, unnamed
from tests.unit.test_relay import PATIENCE, SECRET, Source, asking, serving

CHAT = "openai-chat"


def frames(name: str, values: list[Any]) -> list[bytes]:
    return [encode(event) for event in encoded(name, values)]


async def values_of(
    upstream: Any, name: str | Dialect, received: list[Any] | None = None
) -> list[Any]:
    """What relay makes of the answer; `received` keeps the values before an error."""
    values: list[Any] = [] if received is None else received
    async with asking(upstream) as response:
        try:
            async for value in relay(response, dialect=name):
                values.append(value)
        finally:
            assert response.is_closed
    return values


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", NAMES)
async def test_values_come_in_any_cut(name: str, size: int) -> None:
    body = b"".join(frames(name, ANSWER))
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    async with serving(*parts) as upstream:
        values = await values_of(upstream, name)
    assert unnamed(name, values, values[:1]) == [values[0], *remains(name, ANSWER)[1:]]


async def test_a_token_comes_as_soon_as_its_event_is_there() -> None:
    go_on = asyncio.Event()
    opening, token, *rest = frames(CHAT, ["a", "b"])
    async with (
        serving(opening + token, b"".join(rest), go_on=go_on) as upstream,
        asking(upstream) as response,
        aclosing(relay(response, dialect=CHAT)) as values,
    ):
        assert isinstance(await anext(values), Start)
        assert await anext(values) == "a"
        go_on.set()
        assert await anext(values) == "b"


@pytest.mark.parametrize("then", ["stay", "hang up", "reset"])
@pytest.mark.parametrize("name", NAMES)
async def test_after_the_dialects_end_the_upstream_is_let_go(name: str, then: str) -> None:
    async with serving(*frames(name, ["a", Usage(1, 2)]), then=then) as upstream:
        values = await values_of(upstream, name)
        assert values[1:] == ["a", Finish("stop"), Usage(1, 2)]
        if then == "stay":
            await upstream.client_left.wait()


@pytest.mark.parametrize("then", ["finish", "hang up", "reset"])
@pytest.mark.parametrize("name", NAMES)
async def test_an_upstream_that_dies_in_the_middle_is_an_error(name: str, then: str) -> None:
    go_on = asyncio.Event()
    parts = frames(name, ["a", "b"])
    received: list[Any] = []
    async with (
        serving(b"".join(parts[:-2]), b"\n", then=then, go_on=go_on) as upstream,
        asking(upstream) as response,
    ):

        async def read() -> None:
            async for value in relay(response, dialect=name):
                received.append(value)
                if value == "b":
                    go_on.set()

        with pytest.raises(UpstreamDisconnected):
            await read()
    assert received[1:] == ["a", "b"]


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_that_never_begins_is_an_error(name: str) -> None:
    async with serving() as upstream:
        with pytest.raises(UpstreamDisconnected):
            await values_of(upstream, name)


@pytest.mark.parametrize("name", NAMES)
async def test_an_error_frame_of_the_upstream_is_an_error_without_its_text(name: str) -> None:
    encoder = get_dialect(name).encoder()
    events = [*encoder.encode("a"), *encoder.failed(f"{SECRET} at http://10.0.0.1/v1")]
    received: list[Any] = []
    async with serving(*[encode(event) for event in events]) as upstream:
        with pytest.raises(UpstreamError, match="failed while it was answering") as caught:
            await values_of(upstream, name, received)
    assert received[1:] == ["a"]
    assert isinstance(caught.value, StreamError)
    for leak in (SECRET, "10.0.0.1", "http"):
        assert leak not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body", [b"data: garbage\n\n", b"data: [1]\n\n", b'data: {"a": \n\n', b"<html>\n" * 3]
)
async def test_garbage_is_a_format_error(name: str, body: bytes) -> None:
    async with serving(body) as upstream:
        with pytest.raises(UpstreamFormatError) as caught:
            await values_of(upstream, name)
    assert "garbage" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("1.5", None),
        ("-3", None),
        ("soon", None),
        ("9" * 30, None),
        ("Thu, 99 Foo 1970 00:00:00 GMT", None),
        ("", None),
    ],
)
async def test_an_upstream_that_has_too_much_to_do_says_when_to_come_back(
    status: int, said: str, seconds: float | None
) -> None:
    headers = ("Content-Type: application/json", f"Retry-After: {said}")
    async with serving(b"{}", status=f"{status} No", headers=headers) as upstream:
        with pytest.raises(UpstreamStatusError, match=str(status)) as caught:
            await values_of(upstream, CHAT)
    assert (caught.value.status, caught.value.retry_after) == (status, seconds)


async def test_a_date_to_come_back_at_is_told_in_seconds_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    async with serving(b"{}", status="429 No", headers=(f"Retry-After: {date}",)) as upstream:
        with pytest.raises(UpstreamStatusError) as caught:
            await values_of(upstream, CHAT)
    assert caught.value.retry_after is not None
    assert 3600 - PATIENCE < caught.value.retry_after <= 3600


async def test_without_a_word_of_when_there_is_none() -> None:
    async with serving(b"{}", status="500 No") as upstream:
        with pytest.raises(UpstreamStatusError) as caught:
            await values_of(upstream, CHAT)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("front", NAMES)
@pytest.mark.parametrize("upstream_speaks", NAMES)
async def test_an_upstream_of_one_dialect_is_served_in_another(
    upstream_speaks: str, front: str
) -> None:
    source = Source(*frames(upstream_speaks, ANSWER))
    encoder = get_dialect(front).encoder()
    events: list[Event] = []
    async for value in relay(source, dialect=upstream_speaks):
        events += encoder.encode(value)
    events += encoder.done()

    again = Source(*[encode(event) for event in events])
    values = [value async for value in relay(again, dialect=front)]
    assert remains(front, values)[1:] == remains(front, ANSWER)[1:]


class Shouting(Dialect):
    """A dialect of a project: its events are capitals, and END ends it."""

    name = "shouting"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        raise NotImplementedError

    def decoder(self) -> AnswerDecoder:
        return ShoutingDecoder()


class ShoutingDecoder(AnswerDecoder):
    ended = False

    def decode(self, event: Event) -> list[Value]:
        self.ended = event.data == "END"
        return [] if self.ended else [str(event.data).lower()]

    def end(self) -> None:
        if not self.ended:
            raise UpstreamDisconnected("Nobody shouted END.")


async def test_a_dialect_of_the_project_is_relayed_too() -> None:
    body = b"data: HELLO\n\ndata: END\n\ndata: MORE\n\n"
    async with serving(body) as upstream:
        assert await values_of(upstream, Shouting()) == ["hello"]
    async with serving(b"data: HELLO\n\n") as upstream:
        with pytest.raises(UpstreamDisconnected, match="END"):
            await values_of(upstream, Shouting())


async def test_a_wrong_argument_is_an_error_that_closes_the_upstream() -> None:
    for options, message in (
        ({"dialect": "gpt"}, "no dialect 'gpt'"),
        ({"dialect": CHAT, "until": "[DONE]"}, "until is not allowed with a dialect"),
    ):
        source = Source(b"data: a\n\n")
        arguments: dict[str, Any] = options
        with pytest.raises(ValueError, match=re.escape(message)):
            [value async for value in relay(source, **arguments)]
        assert source.closed


@pytest.mark.parametrize("front", NAMES)
@pytest.mark.parametrize("upstream_speaks", WITH_RESULTS)
async def test_a_result_is_served_where_the_front_end_has_a_place_for_it(
    upstream_speaks: str, front: str
) -> None:
    source = Source(*frames(upstream_speaks, [ToolCall("c", "f", {}), ToolResult("c", "found")]))
    values = [value async for value in relay(source, dialect=upstream_speaks)]
    if front in WITH_RESULTS:
        assert ToolResult("c", "found") in remains(front, values)
        assert encoded(front, values)
    else:
        with pytest.raises(InexpressibleValue, match="ToolResult"):
            encoded(front, values)


def test_all_errors_are_for_the_client() -> None:
    for error in (UpstreamError, UpstreamStatusError, UpstreamFormatError, UpstreamDisconnected):
        assert issubclass(error, RelayError)
