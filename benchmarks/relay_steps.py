"""The longest step on the event loop while a hostile upstream is relayed.

    python -m benchmarks.relay_steps [--only WORD] [--megabytes N] [--rounds N] [--check]

A step is the time from one return to the event loop to the next, in CPU time of its thread: what
other processes do meanwhile does not count, and of several rounds the quietest counts. Each
upstream sends N megabytes, or as much of them as ``relay`` reads. Each is relayed twice: once its
values are dropped, and once they are written in other dialects, as a view would. With ``--check``
the exit status is 1 if a step takes over 20 ms while reading.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import gzip
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from time import thread_time
from typing import Any, Final

from django_sse.dialects import AnswerEncoder, get_dialect
from django_sse.dialects.json_text import MAX_DEPTH, MAX_VALUES
from django_sse.dialects.reading import MAX_ARGUMENTS, MAX_CALLS
from django_sse.exceptions import InexpressibleValue, RelayError, UpstreamLimitError
from django_sse.relay import relay
from django_sse.wire import encode
from django_sse.wire.decoder import MAX_LINE

BOUND_MS: Final = 20.0
FRONTS: Final = ("openai-chat", "openai-responses", "anthropic", "ai-sdk", "ag-ui")
ROOM: Final = MAX_LINE - 1000


@dataclass(frozen=True)
class Response:
    """A response whose parts come at once; ``httpx.Response`` looks the same to ``relay``."""

    parts: Callable[[], Iterator[bytes]]
    encoding: str
    status_code: int = 200
    is_stream_consumed: bool = False
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        headers = {"content-type": "text/event-stream", "content-encoding": self.encoding}
        object.__setattr__(self, "headers", headers)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for part in self.parts():
            yield part

    aiter_bytes = aiter_raw


@dataclass(frozen=True)
class Upstream:
    """A hostile upstream: the parts of its body, for which ``make`` gets their numbers."""

    name: str
    make: Callable[[int], bytes]
    dialect: str | None = None
    end: bytes = b""
    gzip: bool = False

    def parts(self, size: int) -> Iterator[bytes]:
        left = size
        for number in count():
            part = self.make(number)
            left -= len(part)
            if left < 0 and number:
                break
            yield part
        yield self.end

    def response(self, size: int) -> Response:
        if not self.gzip:
            return Response(lambda: self.parts(size), "identity")
        body = gzip.compress(b"".join(self.parts(size)))
        return Response(lambda: iter([body]), "gzip")


def always(part: bytes) -> Callable[[int], bytes]:
    return lambda _: part


def after(first: bytes, part: bytes) -> Callable[[int], bytes]:
    return lambda number: part if number else first


def event(data: str | bytes) -> bytes:
    return b"data: %b\n\n" % (data.encode() if isinstance(data, str) else data)


def fill(unit: str, before: str, after: str, most: int = ROOM) -> str:
    """Repeat the unit as often as it fits into one event, or ``most`` times."""
    return before + unit * min(most, (ROOM - len(before) - len(after)) // len(unit)) + after


def result(content: str) -> bytes:
    """A result of a tool in AG-UI, which may be any JSON."""
    return event(f'{{"type":"TOOL_CALL_RESULT","toolCallId":"c","content":{content}}}')


def ag_ui(**fields: Any) -> bytes:
    return event(json.dumps(fields))


def chat(*deltas: Any) -> bytes:
    return event(json.dumps({"choices": [{"index": 0, "delta": delta} for delta in deltas]}))


def calls_in(numbers: Iterable[int], arguments: str = "{}") -> Any:
    function = {"name": "f", "arguments": arguments}
    return {"tool_calls": [{"index": i, "id": f"c{i}", "function": function} for i in numbers]}


def call(number: int, arguments: str = "{}") -> Any:
    return calls_in([number], arguments)


def wire() -> Iterator[Upstream]:
    for name, part in {
        "comments": b":\n",
        "events without a space": b"data:\n\n",
        "events": b"data: a\n\n",
        "events with a type": b"event: e\ndata: a\n\n",
        "unknown fields": b"data: a\n\n" + b"x\n" * 90,
        "CRs": b"data\r\r",
    }.items():
        chunk = part * (1_000_000 // len(part))
        yield Upstream(f"{name} in chunks of 1 MB", always(chunk))
        yield Upstream(f"{name}, gzip", always(chunk), gzip=True)
    yield Upstream("a byte a chunk", lambda number: b"data: a\n\n"[number % 9 :][:1])
    yield Upstream("one line", always(b"data: " + b"x" * ROOM + b"\n\n"))
    yield Upstream("one event of empty lines", lambda _: b"data\n" * ROOM + b"\n")
    yield Upstream("invalid UTF-8", lambda _: b"data: " + b"\xff" * ROOM + b"\n\n")
    comment = b":" + b"x" * 10_000_000
    yield Upstream("a long comment", always(comment))


def values() -> Iterator[Upstream]:
    """JSON of the largest size that is allowed, and of a larger one."""
    names = ",".join(f'"\\ud800{number:x}":"\\ud800"' for number in range(MAX_VALUES - 20))
    contents = {
        "text": fill("a", '"', '"'),
        "text beyond ASCII": fill("你", '"', '"', ROOM // 3),
        "line ends": fill("\\n", '"', '"'),
        "quotes": fill('\\"', '"', '"'),
        "escaped backslashes": fill("\\\\", '"', '"'),
        "escaped characters": fill("\\u4f60", '"', '"'),
        "lone surrogates": fill("\\ud800", '"', '"'),
        "NULs": fill("\\u0000", '"', '"'),
        "NULs after backslashes": fill("\\\\u0000", '"', '"'),
        "many lists": fill("[],", "[", "0]", MAX_VALUES // 2 - 20),
        "many objects": fill('{"a":1},', "[", "0]", MAX_VALUES // 2 - 20),
        "many floats": fill("0.1,", "[", "0]", MAX_VALUES - 20),
        "many long numbers": fill("9" * 399 + ",", "[", "0]"),
        "many names": f"{{{names}}}",
        "deep lists": fill(
            "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2) + ",",
            "[",
            "0]",
            (MAX_VALUES - 200) // MAX_DEPTH,
        ),
        "too many lists": fill("[],", "[", "0]"),
        "too many strings": fill('"",', "[", "0]"),
        "too deep": fill("[", "", ""),
        "too many digits": fill("9", "", ""),
        "spaces": fill(" ", "[", "]"),
    }
    start = ag_ui(type="TOOL_CALL_START", toolCallId="c", toolCallName="f")
    for name, content in contents.items():
        yield Upstream(
            f"JSON: {name}",
            after(start, result(content)),
            "ag-ui",
        )
    yield Upstream(
        "JSON: not JSON after 1 MB", lambda _: event('{"a":"' + "x" * (ROOM - 10)), "ag-ui"
    )


def answers() -> Iterator[Upstream]:
    done = b"data: [DONE]\n\n"
    yield Upstream("chat: long texts", lambda _: chat({"content": "a\n" * (ROOM // 4)}), CHAT, done)
    texts = chat(*[{"content": "a"}] * (MAX_VALUES // 4 - 5))
    yield Upstream("chat: many texts in an event", always(texts), CHAT, done)
    yield Upstream("chat: a call an event", lambda number: chat(call(number)), CHAT, done)
    calls = chat(calls_in(range(MAX_CALLS)))
    pieces = chat(*[{"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}] * 1000)
    yield Upstream("chat: all calls in an event", after(calls, pieces), CHAT, done)
    more = chat(calls_in(range(MAX_CALLS + 100)))
    yield Upstream("chat: too many calls in an event", always(more), CHAT, done)
    arguments = "[" + "[]," * (MAX_ARGUMENTS // 3 // MAX_CALLS - 2) + "0]"
    finish = event('{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}') + done
    yield Upstream(
        "chat: long arguments in all calls",
        lambda number: chat(call(number, arguments)) if number < MAX_CALLS else finish,
        CHAT,
        done,
    )
    counts = {f"{number}_input_tokens": number for number in range(MAX_VALUES - 20)}
    yield Upstream(
        "anthropic: many counts",
        lambda _: event(json.dumps({"type": "message_delta", "usage": counts})),
        "anthropic",
    )
    yield Upstream(
        "ag-ui: many calls with results",
        lambda number: (
            ag_ui(type="TOOL_CALL_START", toolCallId=f"c{number}", toolCallName="f")
            + ag_ui(type="TOOL_CALL_RESULT", toolCallId=f"c{number}", content="x")
        ),
        "ag-ui",
        ag_ui(type="RUN_FINISHED"),
    )


CHAT: Final = "openai-chat"


class Steps:
    """The longest time between two returns to the event loop."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = thread_time()

    async def watch(self) -> None:
        self._last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            self.longest = max(self.longest, now - self._last)
            self._last = thread_time()


async def read(upstream: Upstream, size: int, front: str | None) -> tuple[float, str]:
    """Return the longest step in ms, and how the answer ended."""
    response = upstream.response(size)
    encoder = None if front is None else get_dialect(front).encoder()
    options: dict[str, Any] = {} if upstream.dialect is None else {"dialect": upstream.dialect}
    steps = Steps()
    watching = asyncio.create_task(steps.watch())
    await asyncio.sleep(0)
    end = "whole"
    try:
        async for value in relay(response, **options):
            if encoder is not None:
                await write(encoder, value)
        if encoder is not None:
            [encode(each) for each in encoder.done()]
    except UpstreamLimitError as error:
        end = error.limit
    except RelayError as error:
        end = type(error).__name__
    await asyncio.sleep(0)
    watching.cancel()
    return steps.longest * 1000, end


async def write(encoder: AnswerEncoder, value: Any) -> None:
    """Write a value as a stream's producer does: a checkpoint, then its frames."""
    await asyncio.sleep(0)
    with suppress(InexpressibleValue):
        encoder.frames(value, json.JSONEncoder)
    await asyncio.sleep(0)


def measure(upstream: Upstream, size: int, front: str | None, rounds: int) -> tuple[float, str]:
    """Return the longest step of the quietest round, and how the answer ended."""
    return min(asyncio.run(read(upstream, size, front)) for _ in range(rounds))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay_steps")
    parser.add_argument("--only", default="", help="a word in the names of the upstreams")
    parser.add_argument("--megabytes", type=float, default=3, help="of the body of each upstream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help=f"fail at a step over {BOUND_MS:g} ms")
    options = parser.parse_args(arguments)
    size = int(options.megabytes * 1_000_000)

    # The collector must not walk the imported modules while an upstream is measured.
    gc.freeze()
    print(f"Python {sys.version.split()[0]}. The longest step in ms.\n")
    print("| upstream | ends with | read | written in the worst dialect |")
    print("|---|---|--:|--:|")
    worst = 0.0
    for upstream in (*wire(), *values(), *answers()):
        if options.only not in upstream.name:
            continue
        longest, end = measure(upstream, size, None, options.rounds)
        written = "-"
        if upstream.dialect is not None:
            times = [(measure(upstream, size, front, options.rounds)[0], front) for front in FRONTS]
            written = "{:.1f} ({})".format(*max(times))
        print(f"| {upstream.name} | {end} | {longest:.1f} | {written} |", flush=True)
        worst = max(worst, longest)
    print(f"\nThe longest step of all while reading took {worst:.1f} ms.")
    return 1 if options.check and worst > BOUND_MS else 0


if __name__ == "__main__":
    sys.exit(main())
