from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_sse.relay import (
    RelayError,
    UpstreamDisconnected,
    UpstreamFormatError,
    UpstreamLimitError,
    UpstreamStatusError,
    relay,
)
from django_sse.wire import Decoder, Event, encode

# Far above what anything here takes: only a hang reaches it.
PATIENCE = 60
SECRET = "sk-secret"
DONE = b"data: [DONE]\n\n"


@dataclass
class Upstream:
    """A small HTTP/1.1 server: one answer, its body in chunks of exactly the cuts it was given."""

    parts: tuple[bytes, ...]
    status: str = "200 OK"
    headers: tuple[str, ...] = ("Content-Type: text/event-stream",)
    # What comes after the parts: "finish", "hang up" (before the final chunk), "reset", "repeat"
    # (the parts, without end) or "stay" (silent, until the client goes).
    then: str = "finish"
    # Awaited between the parts.
    go_on: asyncio.Event | None = None
    # How often.
    asked: int = 0
    client_left: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            head = [f"HTTP/1.1 {self.status}", "Transfer-Encoding: chunked", *self.headers, "", ""]
            writer.write("\r\n".join(head).encode())
            await self._send_body(writer)
            await self._end(reader, writer)
        except ConnectionError:
            self.client_left.set()
        finally:
            writer.close()

    async def _send_body(self, writer: asyncio.StreamWriter) -> None:
        while True:
            for number, part in enumerate(self.parts):
                if number and self.go_on is not None:
                    await self.go_on.wait()
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
            if self.then != "repeat":
                return

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.then == "finish":
            writer.write(b"0\r\n\r\n")
        elif self.then == "reset":
            # Lingering for no time is what makes the kernel send a reset.
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        elif self.then == "stay":
            assert await reader.read() == b""
            self.client_left.set()


@asynccontextmanager
async def serving(*parts: bytes, **options: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(parts, **options)
    server = await asyncio.start_server(upstream.answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        upstream.url = f"http://127.0.0.1:{port}/v1?key={SECRET}"
        async with asyncio.timeout(PATIENCE):
            yield upstream


@asynccontextmanager
async def asking(
    upstream: Upstream, read_timeout: float = PATIENCE
) -> AsyncIterator[httpx.Response]:
    headers = {"Authorization": f"Bearer {SECRET}"}
    timeout = httpx.Timeout(PATIENCE, read=read_timeout)
    async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client:
        request = client.build_request("POST", upstream.url, headers=headers)
        # Not client.stream(), which closes the response by itself.
        yield await client.send(request, stream=True)


async def relayed(
    upstream: Upstream,
    received: list[Event] | None = None,
    read_timeout: float = PATIENCE,
    **options: Any,
) -> list[Event]:
    """What relay makes of the upstream's answer; `received` keeps the events before an error."""
    events = [] if received is None else received
    async with asking(upstream, read_timeout) as response:
        try:
            async for event in relay(response, **options):
                events.append(event)
        finally:
            assert response.is_closed
    return events


def each_byte(data: bytes) -> list[bytes]:
    return [data[position : position + 1] for position in range(len(data))]


SENT = [
    Event("plain"),
    Event('{"delta": "é 注 😀 \u2028"}'),
    Event("two\nlines\n", event="naïve"),
    Event(""),
    Event(" space ", event=" x"),
    Event("[DONE]"),
]
BODY = b"".join(encode(event) for event in SENT)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
async def test_what_upstream_sent_comes_event_for_event_in_any_cut(size: int) -> None:
    parts = [BODY[start : start + size] for start in range(0, len(BODY), size)]

    async with serving(*parts) as upstream:
        assert await relayed(upstream) == SENT


async def test_line_ends_of_upstream_do_not_matter() -> None:
    body = b": hi\r\ndata: a\r\n\r\nevent: e\r\ndata: b\r\ndata: c\r\n\r\n"

    async with serving(*each_byte(body)) as upstream:
        assert await relayed(upstream) == [Event("a"), Event("b\nc", event="e")]


async def test_each_event_comes_as_soon_as_its_last_byte_is_there() -> None:
    go_on = asyncio.Event()

    async with (
        serving(b"data: a\n\ndata: ", b"b\n\n", go_on=go_on) as upstream,
        asking(upstream) as response,
    ):
        events = relay(response)
        assert await anext(events) == Event("a")
        go_on.set()
        assert await anext(events) == Event("b")
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_ids_and_reconnection_times_of_upstream_are_not_passed_on() -> None:
    async with serving(b"retry: 5\n\nid: 7\nevent: e\ndata: a\n\ndata: b\n\n") as upstream:
        assert await relayed(upstream) == [Event("a", event="e"), Event("b")]


async def test_neither_the_end_is_passed_on_nor_what_comes_after_it() -> None:
    async with serving(b"data: a\n\n" + DONE + b"data: b\n\n") as upstream:
        assert await relayed(upstream, until="[DONE]") == [Event("a")]


@pytest.mark.parametrize("then", ["stay", "hang up", "reset"])
async def test_what_happens_after_the_end_does_not_matter(then: str) -> None:
    async with serving(b"data: a\n\n", DONE, then=then) as upstream:
        assert await relayed(upstream, until="[DONE]") == [Event("a")]
        if then == "stay":
            await upstream.client_left.wait()


async def test_a_stream_without_until_may_end_between_events() -> None:
    async with serving(b"data: a\n\n", b":\n") as upstream:
        assert await relayed(upstream) == [Event("a")]


@pytest.mark.parametrize(
    ("parts", "until"),
    [
        ([b"data: a\n\n"], "[DONE]"),
        ([b"data: a\n\n", DONE[:-1]], "[DONE]"),
        ([b"data: a\n\ndata: b\n"], None),
        ([b"data: a\n\ndata"], None),
        ([b"data: a\n\n:\n"], "[DONE]"),
    ],
)
async def test_an_answer_that_ends_before_it_is_whole_is_an_error(
    parts: list[bytes], until: str | None
) -> None:
    events: list[Event] = []
    async with serving(*parts) as upstream:
        with pytest.raises(UpstreamDisconnected, match="before it was complete"):
            await relayed(upstream, events, until=until)
    assert events == [Event("a")]


async def test_an_empty_answer_is_an_error_only_if_an_end_was_asked_for() -> None:
    async with serving() as upstream:
        assert await relayed(upstream) == []
    async with serving() as upstream:
        with pytest.raises(UpstreamDisconnected):
            await relayed(upstream, until="[DONE]")


@pytest.mark.parametrize("then", ["hang up", "reset"])
@pytest.mark.parametrize("until", [None, "[DONE]"])
async def test_a_connection_that_breaks_in_the_middle_is_an_error(
    then: str, until: str | None
) -> None:
    async with serving(b"data: a\n\n", b"data: b", then=then) as upstream:
        with pytest.raises(UpstreamDisconnected) as caught:
            await relayed(upstream, until=until)
    assert isinstance(caught.value.__cause__, httpx.TransportError)


async def test_what_came_before_the_connection_broke_is_delivered() -> None:
    go_on = asyncio.Event()
    async with (
        serving(b"data: a\n\n", b"dat", then="reset", go_on=go_on) as upstream,
        asking(upstream) as response,
    ):
        events = relay(response)
        assert await anext(events) == Event("a")
        go_on.set()
        with pytest.raises(UpstreamDisconnected):
            await anext(events)


async def test_an_upstream_that_falls_silent_is_an_error_after_the_read_timeout() -> None:
    events: list[Event] = []
    async with serving(b"data: a\n\n", then="stay") as upstream:
        with pytest.raises(UpstreamDisconnected):
            await relayed(upstream, events, read_timeout=0.5)
        await upstream.client_left.wait()
    assert events == [Event("a")]


@pytest.mark.parametrize(
    ("status", "number"),
    [("500 Oops", 500), ("401 Unauthorized", 401), ("204 No Content", 204), ("302 Found", 302)],
)
async def test_another_status_than_200_is_an_error(status: str, number: int) -> None:
    parts = () if number == 204 else (b"data: a\n\n",)
    async with serving(*parts, status=status) as upstream:
        with pytest.raises(UpstreamStatusError, match=str(number)) as caught:
            await relayed(upstream)
    assert caught.value.status == number


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Content-Type: text/html",),
        ("Content-Type: application/json",),
        ("Content-Type: text/event-streams",),
        ("Content-Type: text/html; a=text/event-stream",),
    ],
)
async def test_another_content_type_is_an_error(headers: tuple[str, ...]) -> None:
    async with serving(b"data: a\n\n", headers=headers) as upstream:
        with pytest.raises(UpstreamFormatError, match="event stream"):
            await relayed(upstream)


@pytest.mark.parametrize(
    "value", ["text/event-stream", "Text/Event-Stream; charset=utf-8", "text/event-stream;x"]
)
async def test_the_content_type_may_be_spelled_with_capitals_and_parameters(value: str) -> None:
    async with serving(b"data: a\n\n", headers=(f"Content-Type: {value}",)) as upstream:
        assert await relayed(upstream) == [Event("a")]


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html>\n<html>\n\n<h1>Bad gateway</h1>\n</html>\n",
        b'{"error": {"message": "overloaded"}}\n',
        bytes(range(256)) * 20 + b"\n",
    ],
    ids=["html", "json", "binary"],
)
@pytest.mark.parametrize("until", [None, "[DONE]"])
async def test_garbage_that_ends_is_a_format_error(body: bytes, until: str | None) -> None:
    async with serving(body) as upstream:
        with pytest.raises(UpstreamFormatError, match="is not an event stream"):
            await relayed(upstream, until=until)


async def test_garbage_without_a_line_end_is_an_error_too() -> None:
    async with serving(b'{"error": {"message": "overloaded"}}') as upstream:
        with pytest.raises(RelayError):
            await relayed(upstream)


@pytest.mark.parametrize(
    "part", [b"garbage\n" * 50, b"\x93\n\n\xffgarbage" * 20, b"x" * 5000, b"data: " + b"x" * 5000]
)
async def test_garbage_without_end_is_given_up_and_the_connection_closed(part: bytes) -> None:
    async with serving(part, then="repeat") as upstream:
        with pytest.raises((UpstreamFormatError, UpstreamLimitError)):
            await relayed(upstream, max_line=100_000)
        await upstream.client_left.wait()


async def test_a_line_and_an_event_beyond_the_limits_are_errors_after_the_events_before() -> None:
    for limit, body in (
        ("max_line", b"data: a\n\ndata: " + b"x" * 20),
        ("max_event", b"data: a\n\n" + b"data: 12345\n" * 3),
    ):
        events: list[Event] = []
        async with serving(body) as upstream:
            with pytest.raises(UpstreamLimitError, match="too long") as caught:
                await relayed(upstream, events, max_line=15, max_event=15)
        assert caught.value.limit == limit
        assert events == [Event("a")]


async def test_unknown_fields_among_events_are_ignored() -> None:
    body = (b"foo: bar\n" * 90 + b"data: a\n\n") * 3

    async with serving(body[:300], body[300:]) as upstream:
        assert await relayed(upstream) == [Event("a")] * 3


async def test_a_type_that_no_event_may_have_is_a_format_error() -> None:
    events: list[Event] = []
    async with serving(b"data: a\n\nevent: x\0\ndata: b\n\n") as upstream:
        with pytest.raises(UpstreamFormatError, match="type"):
            await relayed(upstream, events)
    assert events == [Event("a")]


async def test_a_compressed_stream_is_relayed_and_a_broken_one_a_format_error() -> None:
    headers = ("Content-Type: text/event-stream", "Content-Encoding: gzip")

    async with serving(*each_byte(gzip.compress(BODY)), headers=headers) as upstream:
        assert await relayed(upstream) == SENT
    async with serving(b"data: a\n\n", headers=headers) as upstream:
        with pytest.raises(UpstreamFormatError, match="encoding"):
            await relayed(upstream)


async def test_the_connection_is_closed_when_the_reader_stops_early() -> None:
    async with (
        serving(b"data: a\n\n", then="repeat") as upstream,
        asking(upstream) as response,
    ):
        async with aclosing(relay(response)) as events:
            assert await anext(events) == Event("a")
        assert response.is_closed
        await upstream.client_left.wait()


async def test_the_connection_is_closed_when_the_reader_is_cancelled() -> None:
    async with (
        serving(b"data: a\n\n", then="stay") as upstream,
        asking(upstream) as response,
    ):
        first = asyncio.Event()

        async def read() -> None:
            async for _ in relay(response):
                first.set()

        task = asyncio.create_task(read())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert response.is_closed
        await upstream.client_left.wait()


TELLTALE = f"data {SECRET}\n".encode()


@pytest.mark.parametrize(
    "options",
    [
        {"parts": (TELLTALE,), "status": f"500 {SECRET}"},
        {"parts": (TELLTALE,), "headers": (f"Content-Type: text/{SECRET}",)},
        {"parts": (TELLTALE,)},
        {"parts": (b"data: " + TELLTALE,)},
        {"parts": (b"data: " + TELLTALE * 100,)},
        {"parts": (b"event: \0" + TELLTALE + b"data: x\n\n",)},
        {"parts": (TELLTALE,), "then": "hang up"},
        {"parts": (TELLTALE,), "then": "reset"},
        {"parts": (TELLTALE,), "then": "stay"},
        {
            "parts": (TELLTALE,),
            "headers": ("Content-Type: text/event-stream", "Content-Encoding: gzip"),
        },
    ],
    ids=["status", "type", "garbage", "cut", "long", "nul", "hang up", "reset", "silent", "gzip"],
)
async def test_no_message_shows_anything_of_the_upstream(options: dict[str, Any]) -> None:
    parts, rest = options["parts"], {k: v for k, v in options.items() if k != "parts"}
    async with serving(*parts, **rest) as upstream:
        with pytest.raises(RelayError) as caught:
            await relayed(upstream, read_timeout=0.5, until="[DONE]", max_event=1000)

    message = f"{caught.value} {caught.value!r}"
    assert "upstream" in message
    for leak in (SECRET, "127.0.0.1", "http://", "Bearer", "/v1"):
        assert leak not in message


class Source:
    """An async iterable of bytes that knows whether it was closed."""

    def __init__(self, *chunks: Any, error: Exception | None = None) -> None:
        self.chunks = iter(chunks)
        self.error = error
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk: bytes | None = next(self.chunks, None)
        if chunk is not None:
            return chunk
        raise StopAsyncIteration if self.error is None else self.error

    async def aclose(self) -> None:
        self.closed += 1


async def test_any_async_iterable_of_bytes_will_do_and_is_closed() -> None:
    source = Source(b"data: a\n", b"", b"\ndata: b\n\n")

    assert [event async for event in relay(source)] == [Event("a"), Event("b")]
    assert source.closed


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), asyncio.IncompleteReadError(b"", 1)]
)
async def test_broken_connections_of_any_client_are_told_apart(error: Exception) -> None:
    source = Source(b"data: a\n\n", error=error)

    with pytest.raises(UpstreamDisconnected) as caught:
        [event async for event in relay(source)]
    assert caught.value.__cause__ is error
    assert source.closed


async def test_an_error_of_another_kind_comes_through() -> None:
    source = Source(error=LookupError("a bug"))

    with pytest.raises(LookupError, match="a bug"):
        [event async for event in relay(source)]
    assert source.closed


async def test_chunks_of_text_are_refused() -> None:
    with pytest.raises(TypeError, match="bytes, not str"):
        [event async for event in relay(Source("data: a\n\n"))]


async def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        [event async for event in relay(Source(), max_line=0)]
    with pytest.raises(ValueError, match="at least 1"):
        [event async for event in relay(Source(), max_event=0)]


class Failing(Source):
    """Its connection breaks only when it is closed."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(b"data: a\n\n")
        self.failure = failure

    async def aclose(self) -> None:
        raise self.failure


async def test_a_connection_that_breaks_while_it_is_closed_does_not_matter() -> None:
    assert [event async for event in relay(Failing(ConnectionResetError()))] == [Event("a")]
    with pytest.raises(LookupError):
        [event async for event in relay(Failing(LookupError()))]


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"data: x\n\n", b"\n\n", b"event: e\n"])))
@settings(deadline=None)
def test_any_bytes_give_the_events_of_the_decoder_and_then_an_end_or_a_named_error(
    chunks: list[bytes],
) -> None:
    expected = Decoder().feed(b"".join(chunks))

    async def read() -> list[Event]:
        events: list[Event] = []
        try:
            async for event in relay(Source(*chunks)):
                events.append(event)
        except RelayError:
            pass
        return events

    received = asyncio.run(read())
    assert [event.data for event in received] == [event.data for event in expected][: len(received)]
    if len(received) < len(expected):
        assert "\0" in expected[len(received)].type


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_relay_works_where_there_is_no_httpx() -> None:
    result = run(
        "import asyncio, sys\n"
        "from django_sse.relay import UpstreamDisconnected, relay\n"
        "assert 'httpx' not in sys.modules\n"
        "sys.modules['httpx'] = None\n"
        "async def source():\n"
        "    yield b'data: a\\n\\n'\n"
        "    raise ConnectionResetError\n"
        "async def main():\n"
        "    try:\n"
        "        async for event in relay(source()):\n"
        "            print(event.data)\n"
        "    except UpstreamDisconnected:\n"
        "        print('disconnected')\n"
        "asyncio.run(main())\n"
    )

    assert (result.stdout.split(), result.stderr) == (["a", "disconnected"], "")
