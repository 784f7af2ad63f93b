"""The wire against its peers: frames encoded a second, megabytes decoded a second.

    python -m benchmarks.encode [--rounds 15] [--seconds 0.05] [--check]

Every contestant makes the same bytes, or the same events out of the same bytes; that is checked
before anything is timed. Each round times all contestants one after the other, so that a noisy
machine disturbs all alike; what is printed is the median, and from the first to the third quartile.
"""

from __future__ import annotations

import argparse
import codecs
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final, cast

# httpx-sse has its decoders in a private module; its public side wants a whole HTTP response.
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from sse_starlette import JSONServerSentEvent, ServerSentEvent

from django_sse.wire import Decoder, Event, MessageEvent, dumps, encode, encode_body, with_id

OURS: Final = "django_sse"
STREAM_FRAMES: Final = 2000
CHUNK: Final = 64 * 1024

ORDER: Final = {
    "id": 12345,
    "name": "order",
    "status": "paid",
    "amount": "123.45",
    "currency": "EUR",
    "note": "thanks a lot",
}
ORDER_TEXT: Final = dumps(ORDER)
DELTA_TEXT: Final = dumps({"delta": " hello"})
DELTA_ID: Final = "k3j9x0q2m5a-12345"
LINES_TEXT: Final = "\n".join(["a line of text as a model writes it"] * 10)
LONG_TEXT: Final = dumps({"text": "lorem ipsum " * 400})
WORLD_TEXT: Final = dumps({"text": "naïve café, 注文は支払い済みです, 😀 " * 3})


@dataclass(frozen=True)
class Contest:
    """One row: what each contestant does once, and how many units of work that is."""

    name: str
    units: float
    contestants: dict[str, Callable[[], object]]


def check_same(name: str, *results: object) -> None:
    if any(result != results[0] for result in results):
        raise SystemExit(f"{name}: the contestants do not make the same thing")


def by_hand(text: str, event: str | None = None, id: str | None = None) -> bytes:
    """What one writes without a library: no checks, lines split at LF only."""
    head = f"id: {id}\n" if id is not None else ""
    if event is not None:
        head = f"{head}event: {event}\n"
    if "\n" in text:
        text = text.replace("\n", "\ndata: ")
    return f"{head}data: {text}\n\n".encode()


def encode_contest(name: str, text: str, event: str | None, id: str | None) -> Contest:
    def body() -> bytes:
        frame = encode_body(event, text)
        return frame if id is None else with_id(id, frame)

    return Contest(
        name,
        1,
        {
            OURS: lambda: encode(Event(text, event=event, id=id)),
            # What the hub does with an event of the log.
            "django_sse, from the log": body,
            "sse-starlette": lambda: ServerSentEvent(text, event=event, id=id, sep="\n").encode(),
            "f-string": lambda: by_hand(text, event, id),
        },
    )


def json_contest() -> Contest:
    def fstring() -> bytes:
        text = json.dumps(ORDER, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return by_hand(text, "status")

    return Contest(
        "a dict, with its JSON",
        1,
        {
            OURS: lambda: encode(Event(ORDER, event="status")),
            "django_sse, from the log": lambda: encode_body("status", dumps(ORDER)),
            "sse-starlette": lambda: JSONServerSentEvent(ORDER, event="status", sep="\n").encode(),
            "f-string": fstring,
        },
    )


def encode_contests() -> Iterable[Contest]:
    contests = [
        encode_contest("100 bytes of JSON", ORDER_TEXT, None, None),
        encode_contest("the same with a type", ORDER_TEXT, "status", None),
        encode_contest("token delta with id", DELTA_TEXT, None, DELTA_ID),
        encode_contest("beyond ASCII", WORLD_TEXT, None, None),
        encode_contest("ten lines", LINES_TEXT, None, None),
        encode_contest("5 KB in one line", LONG_TEXT, None, None),
        json_contest(),
    ]
    for contest in contests:
        check_same(contest.name, *(work() for work in contest.contestants.values()))
        yield contest


def decode_ours(chunks: Sequence[bytes]) -> list[MessageEvent]:
    feed = Decoder().feed
    return [event for chunk in chunks for event in feed(chunk)]


def decode_httpx_sse(chunks: Sequence[bytes]) -> list[MessageEvent]:
    """As ``EventSource.iter_sse`` does it, without the response around it."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode
    lines = SSELineDecoder().decode
    decode = SSEDecoder().decode
    events = []
    for chunk in chunks:
        for line in lines(text(chunk)):
            event = decode(line)
            if event is not None:
                events.append(event)
    return cast("list[MessageEvent]", events)


def fields(events: Iterable[object]) -> list[tuple[str, ...]]:
    """Events of either library as type, data and id."""
    names = ("type", "data", "last_event_id"), ("event", "data", "id")
    ours, theirs = (attrgetter(*each) for each in names)
    return [(ours if isinstance(event, MessageEvent) else theirs)(event) for event in events]


def decode_contest(name: str, frame: bytes, size: int) -> Contest:
    stream = frame * STREAM_FRAMES
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    check_same(name, fields(decode_ours(chunks)), fields(decode_httpx_sse(chunks)))
    return Contest(
        name,
        len(stream) / 1e6,
        {
            OURS: lambda: decode_ours(chunks),
            "httpx-sse": lambda: decode_httpx_sse(chunks),
        },
    )


def decode_contests() -> Iterable[Contest]:
    frames = {
        "100 bytes of JSON": encode(Event(ORDER_TEXT)),
        "the same with a type": encode(Event(ORDER_TEXT, event="status")),
        "token delta with id": encode(Event(DELTA_TEXT, id=DELTA_ID)),
        "beyond ASCII": encode(Event(WORLD_TEXT)),
        "ten lines": encode(Event(LINES_TEXT)),
        "5 KB in one line": encode(Event(LONG_TEXT)),
    }
    for name, frame in frames.items():
        yield decode_contest(f"{name}, 64 KiB a chunk", frame, CHUNK)
        yield decode_contest(f"{name}, a frame a chunk", frame, len(frame))
    crlf = frames["the same with a type"].replace(b"\n", b"\r\n")
    yield decode_contest("the same with a type, CRLF, 64 KiB a chunk", crlf, CHUNK)


def measure(contest: Contest, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Units a second of each contestant in each round."""
    timers = {name: timeit.Timer(work) for name, work in contest.contestants.items()}
    numbers = {}
    for name, timer in timers.items():
        count, taken = timer.autorange()
        numbers[name] = max(1, round(count * seconds / taken))
    rates: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            rates[name].append(contest.units * numbers[name] / timer.timeit(numbers[name]))
    return rates


def cell(rates: list[float], scale: float, digits: int) -> str:
    low, _, high = statistics.quantiles(rates, n=4)
    middle = statistics.median(rates)
    texts = [f"{rate / scale:,.{digits}f}" for rate in (middle, low, high)]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def ratio(rates: dict[str, list[float]], library: str) -> float:
    """Ours to theirs: the median over the rounds, each of which met one and the same noise."""
    pairs = zip(rates[OURS], rates[library], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


@dataclass(frozen=True)
class Table:
    title: str
    library: str
    scale: float
    digits: int


def report(table: Table, contests: Iterable[Contest], rounds: int, seconds: float) -> list[float]:
    """Print a Markdown table row by row; return the ratios."""
    print(f"\n### {table.title}\n")
    ratios: list[float] = []
    for contest in contests:
        rates = measure(contest, rounds, seconds)
        if not ratios:
            names = list(rates)
            print(f"| | {' | '.join(names)} | ratio to {table.library} |")
            print("|---|" + "--:|" * (len(names) + 1))
        ratios.append(ratio(rates, table.library))
        cells = [cell(values, table.scale, table.digits) for values in rates.values()]
        print(f"| {contest.name} | {' | '.join(cells)} | **{ratios[-1]:.2f}** |", flush=True)
    return ratios


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe() -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("sse-starlette", "httpx-sse")
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {versions}, "
        f"{platform.system()} on {processor()}, {os.cpu_count()} cores"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each contestant a round")
    parser.add_argument("--check", action="store_true", help="fail unless ahead of both libraries")
    options = parser.parse_args(arguments)
    if options.rounds < 2 or options.seconds <= 0:
        parser.error("it takes two rounds and more than no time")

    print(f"{describe()}\n\nMedians of {options.rounds} rounds (first to third quartile).")
    encoding = Table("Encoded, thousand frames/s", "sse-starlette", 1e3, 0)
    decoding = Table("Decoded, MB/s", "httpx-sse", 1, 0)
    ratios = report(encoding, encode_contests(), options.rounds, options.seconds)
    ratios += report(decoding, decode_contests(), options.rounds, options.seconds)
    print(f"\nThe smallest ratio to a library is {min(ratios):.2f}.")
    return 1 if options.check and min(ratios) <= 1 else 0


if __name__ == "__main__":
    sys.exit(main())
