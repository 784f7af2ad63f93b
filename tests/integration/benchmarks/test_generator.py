"""The load generator sees what its server does wrong, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks import build
from benchmarks.generator import Load, LoadFailed, Result
from tests.integration.benchmarks.scripted_server import Script, chunk, frame, serving

pytestmark = pytest.mark.needs("cc")
CLIENTS = 3


@contextmanager
def loading(script: Script, **options: bytes) -> Iterator[Load]:
    program = build.load_generator()
    with (
        serving(script, **options) as server,
        Load(program, server.port, "/publish", each=False, cores=()) as load,
    ):
        load.open(CLIENTS, "/stream")
        yield load


def whole(seq: int) -> list[bytes]:
    return [chunk(frame(seq))]


def byte_by_byte(seq: int) -> list[bytes]:
    """A write for each byte of a chunk, and a chunk for each byte of the frame."""
    pieces = b"".join(chunk(bytes([byte])) for byte in frame(seq))
    return [bytes([byte]) for byte in pieces]


@pytest.mark.parametrize("pace", [Load.closed, Load.lockstep])
@pytest.mark.parametrize("script", [whole, byte_by_byte])
def test_every_event_is_seen_however_it_is_cut(script: Script, pace: Callable[..., Result]):
    with loading(script) as load:
        load.warm(0.05)
        result = pace(load, 1, 0.2)
    assert result.published > 1
    assert result.delivered == result.due == result.published * CLIENTS
    assert (result.lost, result.doubled, result.disordered) == (0, 0, 0)


def test_a_body_without_chunks_is_read_as_well():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with loading(lambda seq: [frame(seq)], head=head) as load:
        load.warm(0.05)
        result = load.rate(50, 0.1)
    assert result.published == 5
    assert result.delivered == 5 * CLIENTS


def from_the_fourth(script: Script) -> Script:
    """So that the warm-up gets through."""
    return lambda seq: script(seq) if seq > 3 else whole(seq)


def test_lost_events_are_counted():
    odd = from_the_fourth(lambda seq: whole(seq) if seq % 2 else [])
    with loading(odd) as load:
        load.fill(3)
        result = load.rate(100, 0.1)
    assert result.published == 10
    assert result.lost == 5 * CLIENTS


def test_doubled_events_are_counted_once_as_delivered():
    with loading(from_the_fourth(lambda seq: whole(seq) * 2)) as load:
        load.fill(3)
        result = load.rate(100, 0.1)
    assert result.delivered == result.due
    assert result.doubled == result.published * CLIENTS


def test_events_out_of_order_are_no_loss():
    def swapped(seq: int) -> list[bytes]:
        """Two at every other publish, the later one first."""
        return [chunk(frame(seq) + frame(seq - 1))] if seq % 2 else []

    with loading(from_the_fourth(swapped)) as load:
        load.fill(3)
        result = load.rate(100, 0.1)
    assert result.lost == 0
    assert result.disordered == result.published / 2 * CLIENTS


def test_what_an_earlier_measure_missed_is_not_counted_in_a_later_one():
    def late(seq: int) -> list[bytes]:
        return [chunk(frame(4)), *whole(seq)] if seq > 4 else []

    with loading(from_the_fourth(late)) as load:
        load.fill(3)
        assert load.rate(50, 0.02).lost == CLIENTS
        result = load.rate(50, 0.02)
    assert result.delivered == result.due == CLIENTS


def test_latency_is_that_of_the_time_in_the_data():
    def old(seq: int) -> list[bytes]:
        data = frame(seq)
        start, end = data.index(b"@") + 1, data.index(b";")
        second_ago = int(data[start:end]) - 10**9
        return [chunk(data[:start] + str(second_ago).encode() + data[end:])]

    with loading(old) as load:
        load.warm(0.05)
        result = load.rate(50, 0.1)
    assert 1000 <= result.p50 <= result.p99 < 2000


def test_an_error_status_is_said():
    with (
        pytest.raises(LoadFailed, match="503 Overloaded"),
        loading(whole, head=b"HTTP/1.1 503 Overloaded\r\n\r\n"),
    ):
        pass


def test_the_last_number_is_known_for_the_next_publisher():
    with loading(whole) as load:
        load.fill(7)
        assert load.next_seq == 8
        assert load.rate(50, 0.1).next_seq == load.next_seq == 13


def test_a_closed_stream_loses_what_comes_after():
    with loading(lambda seq: [b"0\r\n\r\n"] if seq > 3 else whole(seq)) as load:
        load.fill(3)
        result = load.rate(50, 0.1)
    assert result.closed == CLIENTS
    assert result.lost == result.due
