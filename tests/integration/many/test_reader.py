from __future__ import annotations

import pytest

from tests.integration.many.reader import Reader
from tests.integration.many.tape import Tape, WrongStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Upstream: a:1, b:2\r\n\r\n"


def opened(id: str) -> bytes:
    return f"id: {id}\nevent: stream-open\nretry: 300\ndata: {{}}\n\n".encode()


def frame(seq: int) -> bytes:
    return f"id: e-{seq}\ndata: p {seq}\n\n".encode()


FAREWELL = b"event: stream-retry\nretry: 700\ndata: {}\n\n"


@pytest.fixture
def reader() -> Reader:
    return Reader(Tape())


def read(reader: Reader, body: bytes, size: int = 1 << 20) -> None:
    """One connection, in pieces of `size` bytes."""
    response = HEAD + body
    for start in range(0, len(response), size):
        reader.feed(response[start : start + size])


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
def test_events_heartbeats_and_control_frames_come_in_any_pieces(reader: Reader, size: int) -> None:
    assert reader.connect() == b""
    body = opened("e-0") + b":\n:\n" + frame(1) + frame(2) + b":\n" + frame(3) + FAREWELL
    read(reader, body, size)
    assert (reader.seq, reader.opened, reader.farewells, reader.retry) == (3, True, 1, 0.7)
    assert (reader.statuses, reader.upstreams) == ([200], {"b:2"})
    assert reader.connect() == b"Last-Event-ID: e-3\r\n"


def test_a_reader_that_was_cut_before_its_first_event_comes_back_to_where_it_was(
    reader: Reader,
) -> None:
    read(reader, opened("e-0"))
    assert reader.connect() == b"Last-Event-ID: e-0\r\n"
    read(reader, opened("e-0") + frame(1))
    assert reader.seq == 1


def test_an_event_that_was_cut_is_not_had(reader: Reader) -> None:
    read(reader, opened("e-0") + frame(1) + frame(2)[:-1])
    assert reader.connect() == b"Last-Event-ID: e-1\r\n"
    read(reader, opened("e-1") + frame(2))
    assert reader.seq == 2


@pytest.mark.parametrize(
    "again",
    [
        opened("e-0") + frame(1),
        opened("e-2") + frame(3),
        opened("e-1") + frame(1),
        opened("e-1") + frame(3),
        b"id: e-1\nevent: stream-reset\ndata: {}\n\n",
    ],
    ids=["opened before", "opened after", "doubled", "hole", "reset"],
)
def test_a_return_to_another_place_is_wrong(reader: Reader, again: bytes) -> None:
    read(reader, opened("e-0") + frame(1))
    reader.connect()
    with pytest.raises(WrongStream):
        read(reader, again)


def test_the_body_of_an_error_is_no_stream(reader: Reader) -> None:
    reader.connect()
    reader.feed(b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>\n\n</html>\n\n")
    assert (reader.statuses, reader.position, reader.upstreams) == ([502], 0, set())


def test_what_is_not_http_is_wrong(reader: Reader) -> None:
    with pytest.raises(WrongStream, match="not a response"):
        reader.feed(b"SSH-2.0\r\n\r\n")
