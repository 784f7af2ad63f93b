"""No upstream stops the event loop: the work grows with its bytes, and others get their turns."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_sse.dialects import ToolCallDelta, ToolResult
from django_sse.dialects.reading import MAX_ARGUMENTS, MAX_CALLS, CallReader
from django_sse.exceptions import RelayError, UpstreamLimitError
from django_sse.relay import relay
from tests.unit.dialects.support import ANSWER, NAMES, WITH_RESULTS, encoded, remains, unnamed
from tests.unit.test_relay import Source, asking, serving
from tests.unit.test_relay_dialects import frames

GZIP = ("Content-Type: text/event-stream", "Content-Encoding: gzip")


def data(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def chat(*deltas: dict[str, Any]) -> bytes:
    return data({"choices": [{"index": 0, "delta": delta} for delta in deltas]})


def chat_calls(numbers: Iterable[int], arguments: str = "{}") -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"tool_calls": [{"index": i, "id": f"c{i}", "function": function} for i in numbers]}


def chat_call(number: int, arguments: str = "{}") -> dict[str, Any]:
    return chat_calls([number], arguments)


def named(**fields: Any) -> bytes:
    return data(fields)


async def outcome(source: Any, **options: Any) -> tuple[int, str | None]:
    """The number of values, and the limit or the error that ended them."""
    count = 0
    try:
        async for _ in relay(source, **options):
            count += 1
    except UpstreamLimitError as error:
        return count, error.limit
    except RelayError as error:
        return count, type(error).__name__
    return count, None


def calls_in(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called meanwhile."""
    count = 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


# For each kind of hostile input a body of n parts.
GROWING: dict[str, tuple[str | None, Callable[[int], bytes]]] = {
    "events": (None, lambda n: b"data: a\n\n" * n),
    "odd events": (None, lambda n: b"data:\r\r" * n),
    "lines": (None, lambda n: b"data\n" * n),
    "comments": (None, lambda n: b":\n" * n),
    "one comment": (None, lambda n: b":" + b"x" * n),
    "one event": (None, lambda n: b"data: " + b"x" * n + b"\n\n"),
    "chat calls": ("openai-chat", lambda n: b"".join(chat(chat_call(i)) for i in range(n))),
    "chat calls in one event": (
        "openai-chat",
        lambda n: chat(*[chat_call(i) for i in range(n)]),
    ),
    "chat pieces": (
        "openai-chat",
        lambda n: chat(chat_call(0)) + chat({"tool_calls": [{"index": 0}]}) * n,
    ),
    "responses calls": (
        "openai-responses",
        lambda n: b"".join(
            named(
                type="response.output_item.added",
                output_index=i,
                item={"type": "function_call", "call_id": f"c{i}", "name": "f", "arguments": ""},
            )
            for i in range(n)
        ),
    ),
    "anthropic counts": (
        "anthropic",
        lambda n: (
            named(type="message_delta", usage={f"{i}_input_tokens": i for i in range(n)})
            + named(type="message_delta", usage={"output_tokens": 1}) * n
        ),
    ),
    "anthropic blocks": (
        "anthropic",
        lambda n: b"".join(
            named(
                type="content_block_start",
                index=i,
                content_block={"type": "tool_use", "id": f"c{i}", "name": "f"},
            )
            for i in range(n)
        ),
    ),
    "ag-ui calls": (
        "ag-ui",
        lambda n: b"".join(
            named(type="TOOL_CALL_START", toolCallId=f"c{i}", toolCallName="f") for i in range(n)
        ),
    ),
    "ai-sdk calls and results": (
        "ai-sdk",
        lambda n: b"".join(
            named(type="tool-input-available", toolCallId=f"c{i}", toolName="f", input={})
            + named(type="tool-output-available", toolCallId=f"c{i}", output="x")
            for i in range(n)
        ),
    ),
}


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("size", [7, 1_000_000])
def test_the_work_grows_with_the_bytes_and_no_faster(name: str, size: int) -> None:
    dialect, make = GROWING[name]

    def work(n: int) -> Callable[[], object]:
        body = make(n)
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        options: dict[str, Any] = {} if dialect is None else {"dialect": dialect}
        return lambda: asyncio.run(outcome(Source(*chunks), **options))

    work(1)()
    few, many = calls_in(work(100)), calls_in(work(400))
    assert many < 4.5 * few + 500


@pytest.mark.parametrize("name", WITH_RESULTS)
def test_the_work_of_writing_calls_grows_with_their_number(name: str) -> None:
    def work(n: int) -> Callable[[], object]:
        ids = [f"c{number}" for number in range(n)]
        pairs = [(ToolCallDelta(id, "{}", "f"), ToolResult(id, "x")) for id in ids]
        return lambda: encoded(name, [value for pair in pairs for value in pair])

    work(1)()
    assert calls_in(work(400)) < 4.5 * calls_in(work(100))


class Counted(str):
    """Text that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_an_id_is_compared_with_few_others() -> None:
    calls = CallReader()
    for number in range(MAX_CALLS):
        calls.start(number, Counted(f"c{number}"), "f", "")
    assert Counted.compared < MAX_CALLS


@pytest.mark.parametrize(
    ("dialect", "body", "limit"),
    [
        ("openai-chat", chat(chat_calls(range(MAX_CALLS + 1))), "calls"),
        ("openai-chat", b"".join(chat(chat_call(i)) for i in range(1100)), "calls"),
        ("openai-chat", chat(chat_call(0, "x" * 600_000)) * 2, "arguments"),
        ("anthropic", b'data: {"a":' + b"[" * 200 + b"]" * 200 + b"}\n\n", "json"),
        ("ag-ui", b'data: {"a":' + b"[" * 400_000 + b"\n\n", "json"),
        ("ai-sdk", b'data: {"a":[' + b"[]," * 300_000 + b"0]}\n\n", "json"),
        ("openai-responses", data({"a": [0] * 20_000}), "json"),
        ("anthropic", b'data: {"a":' + b"9" * 1_000_000 + b"}\n\n", "json"),
    ],
    ids=[
        "calls in one event",
        "calls",
        "arguments",
        "depth",
        "only opened",
        "values",
        "numbers",
        "digits",
    ],
)
async def test_what_no_answer_has_is_over_a_limit(dialect: str, body: bytes, limit: str) -> None:
    assert (await outcome(Source(body), dialect=dialect))[1] == limit


async def test_arguments_count_until_the_call_has_its_result() -> None:
    long = "x" * (MAX_ARGUMENTS // 2)
    bodies = [
        named(type="tool-input-start", toolCallId=f"c{i}", toolName="f")
        + named(type="tool-input-delta", toolCallId=f"c{i}", inputTextDelta=long)
        + named(type="tool-output-available", toolCallId=f"c{i}", output="x")
        for i in range(5)
    ]
    end = named(type="finish", finishReason="stop") + b"data: [DONE]\n\n"
    assert (await outcome(Source(*bodies, end), dialect="ai-sdk"))[1] is None


@pytest.mark.parametrize("chunk", [b":\n", b"data: a\n\n", b"data: a\n", b"event: x\n\n"])
@pytest.mark.parametrize("size", [9, 10_000_000])
async def test_others_get_turns_while_a_large_body_is_read(chunk: bytes, size: int) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    body = chunk * (1_000_000 // len(chunk))
    task = asyncio.create_task(others())
    await outcome(Source(*[body[i : i + size] for i in range(0, len(body), size)]))
    task.cancel()
    assert turns >= 5


async def test_a_gzip_bomb_is_read_in_small_memory_up_to_max_bytes() -> None:
    bomb = gzip.compress((b":" + b"x" * 999 + b"\n") * 64_000)
    async with serving(bomb, headers=GZIP) as upstream, asking(upstream) as response:
        tracemalloc.start()
        try:
            assert await outcome(response, max_bytes=16 << 20) == (0, "max_bytes")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_the_values_are_the_same_in_any_cut(name: str, cuts: list[int]) -> None:
    body = b"".join(frames(name, ANSWER))
    borders = [0, *sorted(cut % len(body) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(borders)]

    async def values() -> list[Any]:
        return [value async for value in relay(Source(*chunks), dialect=name)]

    found = asyncio.run(values())
    assert unnamed(name, found, found[:1]) == [found[0], *remains(name, ANSWER)[1:]]
