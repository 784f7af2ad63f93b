from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_sse.wire import DecodeError, Decoder, EventTooLong, LineTooLong, MessageEvent
from django_sse.wire.decoder import MAX_EVENT, MAX_LINE
from django_sse.wire.event import MAX_RETRY

KIB = 1024
BOM = b"\xef\xbb\xbf"


class Reference:
    """The standard's text (WHATWG HTML, 9.2.6) in its own order, on the whole input at once."""

    def __init__(self, stream: bytes) -> None:
        self.events: list[MessageEvent] = []
        self.last_event_id = ""
        self.reconnection_time: int | None = None
        self.ignored_lines = 0
        self._data = self._type = self._id = ""
        # UTF-8 decode: one byte order mark is taken off.
        text = stream.removeprefix(BOM).decode("utf-8", "replace")
        for line in self._lines(text):
            self._interpret(line)

    def _lines(self, text: str) -> Iterator[str]:
        line, position = "", 0
        while position < len(text):
            if text[position] in "\r\n":
                yield line
                line = ""
                position += 2 if text[position : position + 2] == "\r\n" else 1
            else:
                line += text[position]
                position += 1
        # At the end of the file pending data is discarded.

    def _interpret(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line[0] == ":":
            return
        elif ":" in line:
            colon = line.index(":")
            value = line[colon + 1 :]
            self._process(line[:colon], value[1:] if value[:1] == " " else value)
        else:
            self._process(line, "")

    def _process(self, field: str, value: str) -> None:
        if field == "event":
            self._type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id":
            if "\0" not in value:
                self._id = value
        elif field == "retry":
            if value and all(character in "0123456789" for character in value):
                # The standard knows no upper limit; ours is that of Event.
                self.reconnection_time = min(int(value[-4000:]), MAX_RETRY)
                if value[:-4000].strip("0"):
                    self.reconnection_time = MAX_RETRY
        else:
            self.ignored_lines += 1

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        data, type = self._data, self._type
        self._data = self._type = ""
        if data != "":
            self.events.append(MessageEvent(type or "message", data[:-1], self.last_event_id))


FRAGMENTS = [
    *(
        b"data",
        b"data:",
        b"data: ",
        b"data:  ",
        b"data: x\n",
        b"data: a\ndata: b\n\n",
        b" data: x\n",
    ),
    *(b"id", b"id:", b"id: ", b"id: 1\n", b"id\n", b"id: a\0b\n", b"id: 7\ndata: x\n\n"),
    *(
        b"event",
        b"event:",
        b"event: e\n",
        b"event: e\ndata: x\n\n",
        b"id: 8\nevent: e\ndata: x\n\n",
    ),
    *(
        b"retry",
        b"retry:",
        b"retry: 5\n",
        b"retry:-1\n",
        b"retry: 0x5\n",
        b"retry: " + b"9" * 30 + b"\n",
    ),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b":", b": c\n", b" ", b"\0", BOM),
    *(
        b"\xef",
        b"\xef\xbb",
        b"\xc3",
        b"\xa9",
        b"\xe2\x80",
        b"\xa8",
        b"\xf0\x9f\x98\x80",
        b"\xff",
        b"\xed\xa0\x80",
    ),
    *("\u2028\x85\v\f\x1c".encode(), "é注😀".encode(), "\ufeff".encode(), "\u0661".encode()),
    *(b"Data: x\n", b"foo: bar\n", b"foo\n"),
]
streams = (
    st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=40).map(b"".join)
    | st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: f"data: {text}\n\n".encode())
)
cuts = st.lists(st.integers(0, 400), max_size=25)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The bytes in pieces, some of them empty, cut at the places (modulo the length)."""
    borders = sorted(place % (len(data) + 1) for place in places)
    for start, end in zip([0, *borders], [*borders, len(data)], strict=True):
        yield data[start:end]


def each_byte(data: bytes) -> list[bytes]:
    return [data[position : position + 1] for position in range(len(data))]


def decode(*chunks: bytes) -> list[MessageEvent]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def data_of(*chunks: bytes) -> list[str]:
    return [event.data for event in decode(*chunks)]


@given(streams, cuts)
@example(b"data: x\r\n\r\n" + BOM + b"data: y\n\n", [8, 9, 10])
@example(BOM + BOM + b"data: x\n\n", [1, 2, 4])
def test_any_bytes_cut_anywhere_decode_as_the_standard_says(
    stream: bytes, places: list[int]
) -> None:
    expected = Reference(stream)
    for chunks in (list(cut(stream, places)), each_byte(stream), [stream]):
        decoder = Decoder()
        events = [event for chunk in chunks for event in decoder.feed(chunk)]

        assert events == expected.events
        assert decoder.last_event_id == expected.last_event_id
        assert decoder.reconnection_time == expected.reconnection_time
        assert decoder.ignored_lines == expected.ignored_lines


def fault(stream: bytes, max_line: int, max_event: int) -> tuple[type[DecodeError] | None, bytes]:
    """The error that the stream must end in, and what stands before the line at fault."""
    normal = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    position, size = 0, -1
    for line in normal.split(b"\n"):
        if len(line) > max_line:
            return LineTooLong, normal[:position]
        if position + len(line) == len(normal):
            break
        content = line.removeprefix(BOM) if position == 0 else line
        name, _, value = content.partition(b":")
        if not content:
            size = -1
        elif name == b"data":
            size += 1 + len(value.removeprefix(b" "))
            if size > max_event:
                return EventTooLong, normal[:position]
        position += len(line) + 1
    return None, normal


@given(streams, cuts, st.integers(1, 30), st.integers(1, 30))
def test_any_bytes_decode_or_raise_the_named_error_wherever_they_are_cut(
    stream: bytes, places: list[int], max_line: int, max_event: int
) -> None:
    error, before = fault(stream, max_line, max_event)
    for chunks in (list(cut(stream, places)), each_byte(stream), [stream]):
        decoder = Decoder(max_line, max_event)
        events: list[MessageEvent] = []
        raised: type[DecodeError] | None = None
        try:
            for chunk in chunks:
                events += decoder.feed(chunk)
        except DecodeError as caught:
            raised = type(caught)
            events += caught.events

        assert raised is error
        assert events == Reference(before).events


def test_an_event_is_type_data_and_last_event_id() -> None:
    assert decode(b"id: 1\nevent: e\ndata: x\n\n") == [MessageEvent("e", "x", "1")]
    assert decode(b"data: x\n\n") == [MessageEvent("message", "x", "")]


def test_a_message_event_is_frozen() -> None:
    event = MessageEvent(type="message", data="x", last_event_id="")

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.data = "y"  # type: ignore[misc]
    assert repr(event) == "MessageEvent(type='message', data='x', last_event_id='')"
    assert event == MessageEvent("message", "x", "")
    assert event != MessageEvent("message", "y", "")


# The examples of the standard's text, 9.2.6.
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", ["YHOO\n+2\n10"]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\n"
            b"data:second event\nid\n\ndata:  third event\n",
            ["first event", "second event"],
        ),
        (b"data\n\ndata\ndata\n\ndata:\n", ["", "\n"]),
        (b"data:test\n\ndata: test\n\n", ["test", "test"]),
    ],
)
def test_the_examples_of_the_standard(stream: bytes, expected: list[str]) -> None:
    assert data_of(stream) == expected
    assert data_of(*each_byte(stream)) == expected


def test_each_event_has_the_last_id_so_far_and_an_empty_id_resets_it() -> None:
    events = decode(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: 2\n\ndata: d\n\n")

    assert [event.last_event_id for event in events] == ["1", "1", "", "2"]


def test_an_id_counts_from_the_end_of_its_event() -> None:
    decoder = Decoder()

    decoder.feed(b"id: 1\ndata: x\n")
    assert decoder.last_event_id == ""
    decoder.feed(b"\n")
    assert decoder.last_event_id == "1"


def test_an_id_with_nul_is_ignored() -> None:
    events = decode(b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n")

    assert [event.last_event_id for event in events] == ["1", "1"]


def test_the_type_is_forgotten_after_a_blank_line_also_without_data() -> None:
    events = decode(
        b"event: a\n\ndata: x\n\nevent: b\nevent: c\ndata: y\n\nevent: d\nevent\ndata: z\n\n"
    )

    assert [event.type for event in events] == ["message", "c", "message"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_of_the_format_ends_a_line_in_one_piece_or_two(end: bytes) -> None:
    stream = end.join([b"id: 1", b"data: a", b"data: b", b"", b"data: c", b"", b""])
    expected = [MessageEvent("message", "a\nb", "1"), MessageEvent("message", "c", "1")]

    for place in range(len(stream)):
        assert decode(stream[:place], stream[place:]) == expected


def test_an_event_that_ends_in_cr_is_not_held_back_for_an_lf() -> None:
    decoder = Decoder()

    assert decoder.feed(b"data: a\r\r") == [MessageEvent("message", "a", "")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\r\n\r") == [MessageEvent("message", "b", "")]
    assert decoder.feed(b"\ndata: c\n\n") == [MessageEvent("message", "c", "")]


def test_one_byte_order_mark_is_taken_off_wherever_it_is_cut() -> None:
    stream = BOM + b"data: x\n\n"

    for place in range(5):
        assert data_of(stream[:place], stream[place:]) == ["x"]
    assert data_of(BOM + stream) == []
    assert data_of(b"data: x\n\n" + stream) == ["x"]


@pytest.mark.parametrize("text", ["é", "注", "😀", "\u2028", "\x85"])
def test_a_character_survives_a_cut_within_its_bytes(text: str) -> None:
    stream = f"event: {text}\nid: {text}\ndata: {text}\n\n".encode()

    for place in range(len(stream)):
        assert decode(stream[:place], stream[place:]) == [MessageEvent(text, text, text)]


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xe2\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80"]
)
def test_invalid_utf8_becomes_replacement_characters_also_before_a_line_end(bad: bytes) -> None:
    stream = b"event: " + bad + b"\nid: " + bad + b"\ndata: a" + bad + b"\n\n"
    text = bad.decode("utf-8", "replace")

    assert "\ufffd" in text
    for place in range(len(stream)):
        assert decode(stream[:place], stream[place:]) == [MessageEvent(text, "a" + text, text)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"3000", 3000),
        (b"0003000", 3000),
        (str(MAX_RETRY).encode(), MAX_RETRY),
        (str(MAX_RETRY + 1).encode(), MAX_RETRY),
        (b"9" * 500_000, MAX_RETRY),
        (b"0" * 500_000 + b"7", 7),
        (b"", 1),
        (b"-5", 1),
        (b"+5", 1),
        (b"5.0", 1),
        (b"5 ", 1),
        (b" 5", 1),
        (b"1_0", 1),
        (b"0x5", 1),
        ("\u0665".encode(), 1),
        (b"5\0", 1),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else None,
)
def test_a_retry_counts_at_once_if_it_has_only_ascii_digits(value: bytes, expected: int) -> None:
    decoder = Decoder()

    decoder.feed(b"retry: 1\nretry: " + value + b"\n")

    assert decoder.reconnection_time == expected


def test_an_unfinished_last_event_is_dropped() -> None:
    decoder = Decoder()

    assert decoder.feed(b"data: a\n\ndata: b\n") == [MessageEvent("message", "a", "")]
    assert decoder.unfinished


@pytest.mark.parametrize(
    ("stream", "unfinished"),
    [
        (b"", False),
        (b"data: a\n\n", False),
        (b"data: a\n", True),
        (b"data\n", True),
        (b"dat", True),
        (b"data: a\n\n:", False),
        (b"data: a\n\n:\n", False),
        (b": comment", False),
        (b"data: a\n:\n", True),
        (b"retry: 5\n", False),
    ],
)
def test_the_decoder_tells_whether_an_end_would_drop_something(
    stream: bytes, unfinished: bool
) -> None:
    decoder = Decoder()

    for chunk in each_byte(stream):
        decoder.feed(chunk)

    assert decoder.unfinished is unfinished


def test_lines_that_are_no_fields_are_ignored_and_counted() -> None:
    decoder = Decoder()

    assert decoder.feed(b"<html>\nData: x\n data: y\n: comment\n\n") == []
    assert decoder.ignored_lines == 3


def test_an_event_longer_than_a_slice_is_decoded() -> None:
    lines = ["x" * number for number in range(0, 1000, 7)]
    stream = b"".join(b"data: %b\n" % line.encode() for line in lines) + b"\n"
    assert len(stream) > 64 * KIB

    assert data_of(stream * 3) == ["\n".join(lines)] * 3


def test_the_limits_count_bytes_and_may_be_reached() -> None:
    decoder = Decoder(max_line=10, max_event=9)

    assert decoder.feed("data: éé\n\n".encode()) == [MessageEvent("message", "éé", "")]
    assert decoder.feed(b"data: abcd\ndata: efgh\n\n") == [
        MessageEvent("message", "abcd\nefgh", "")
    ]
    with pytest.raises(LineTooLong):
        decoder.feed("data: ééx\n\n".encode())


def test_a_line_that_does_not_end_is_too_long_as_soon_as_it_is() -> None:
    decoder = Decoder(max_line=10)

    decoder.feed(b"0123456789")
    with pytest.raises(LineTooLong, match="10 bytes"):
        decoder.feed(b"x")


def test_an_event_that_does_not_end_is_too_long_as_soon_as_it_is() -> None:
    decoder = Decoder(max_event=5)

    decoder.feed(b"data: ab\ndata: cd\n")
    with pytest.raises(EventTooLong, match="5 bytes"):
        decoder.feed(b"data\n")


def test_comments_ids_and_types_do_not_count_as_data() -> None:
    decoder = Decoder(max_line=100, max_event=5)

    for _ in range(100):
        decoder.feed(b": comment\nid: long enough\nevent: long enough\n")

    assert decoder.feed(b"data: 12345\n\n")[0].data == "12345"


def test_a_decoder_that_gave_up_says_so_on_every_call() -> None:
    decoder = Decoder(max_line=10)
    with pytest.raises(LineTooLong):
        decoder.feed(b"x" * 11)

    for chunk in (b"\n", b"", b"data: x\n\n"):
        with pytest.raises(DecodeError, match=r"failed.*longer than 10 bytes.*Make a new Decoder"):
            decoder.feed(chunk)


def test_the_error_hands_over_what_was_complete_before_the_fault() -> None:
    decoder = Decoder(max_line=10)

    with pytest.raises(LineTooLong) as caught:
        decoder.feed(b"data: a\n\ndata: b\n\n" + b"x" * 11)
    assert [event.data for event in caught.value.events] == ["a", "b"]


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (-1, -1)])
def test_a_limit_below_one_is_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Decoder(*limits)


def test_the_default_limits_are_one_mebibyte() -> None:
    assert (MAX_LINE, MAX_EVENT) == (1024 * KIB, 1024 * KIB)
    decoder = Decoder()
    decoder.feed(b"data: " + b"x" * (MAX_LINE - 6) + b"\n")
    decoder.feed(b"x" * MAX_LINE)
    with pytest.raises(LineTooLong):
        decoder.feed(b"x")


def peak_while_feeding(chunk: bytes, times: int, decoder: Decoder) -> int:
    """The most bytes allocated at once by feeding the chunk again and again."""
    tracemalloc.start()
    try:
        for _ in range(times):
            decoder.feed(chunk)
        return tracemalloc.get_traced_memory()[1]
    except DecodeError:
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Three mebibytes of each, with limits of 256 KiB.
@pytest.mark.parametrize(
    "chunk",
    [
        b"x" * KIB,
        b"data: " + b"x" * KIB,
        b"data: " + b"x" * KIB + b"\n",
        b"data: xy\n" * 100,
        b"data\n" * 200,
        b":" + b"x" * KIB + b"\n",
        b"id: " + b"x" * KIB + b"\n",
        b"event: " + b"x" * KIB + b"\n",
        b"retry: " + b"9" * KIB + b"\n",
        b"x" * KIB + b"\n",
        b"\n" * KIB,
        b"\r" * KIB,
        b"data: x\n\n" * 100,
        b"\xff" * KIB,
    ],
    ids=lambda chunk: repr(chunk[:12]),
)
def test_memory_is_bounded_by_the_limits_whatever_comes(chunk: bytes) -> None:
    decoder = Decoder(max_line=256 * KIB, max_event=256 * KIB)

    peak = peak_while_feeding(chunk, 3 * KIB * KIB // len(chunk), decoder)

    assert peak < 6 * 256 * KIB


def test_memory_stays_near_the_size_of_one_large_chunk_of_blank_lines() -> None:
    chunk = b"\n" * (2 * KIB * KIB)

    assert peak_while_feeding(chunk, 1, Decoder()) < 2 * len(chunk)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


# Each takes a small part of the bound; copying what is there for each byte or line, or starting a
# search over for each, takes many times as long.
def test_a_long_line_in_single_bytes_takes_linear_time() -> None:
    decoder = Decoder()

    def work() -> None:
        for _ in range(MAX_LINE - 6):
            decoder.feed(b"x")

    decoder.feed(b"data: ")
    assert cpu_seconds(work) < 20
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == MAX_LINE - 6


@pytest.mark.parametrize(
    "pattern",
    [
        b"data\n",
        b"data: \n",
        b"data: x\n",
        b"data:x\ndata: y\n",
        b"id: x\n",
        b"event: x\n",
        b"retry: 1\n",
        b":\n",
        b"x\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\r",
        b":" * 1000 + b"\n",
        b"data: " * 1000 + b"\n",
        b"9" * 1000 + b"\n",
        b"\xef\xbb\xbf\n",
    ],
    ids=lambda pattern: repr(pattern[:16]),
)
def test_hostile_repetition_takes_linear_time(pattern: bytes) -> None:
    stream = pattern * (512 * KIB // len(pattern))

    assert cpu_seconds(lambda: decode(stream + b"\n", stream + b"\n\n")) < 5


def test_a_huge_retry_in_a_line_of_its_own_takes_no_time() -> None:
    decoder = Decoder()
    stream = b"retry: " + b"9" * (MAX_LINE - 7) + b"\n"

    assert cpu_seconds(lambda: [decoder.feed(stream) for _ in range(10)]) < 20
    assert decoder.reconnection_time == MAX_RETRY
