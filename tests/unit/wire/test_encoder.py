from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.wire import (
    HEARTBEAT,
    DataNotSerializable,
    Decoder,
    Event,
    InvalidEvent,
    MessageEvent,
    data_text,
    dumps,
    encode,
    encode_body,
    with_id,
)
from django_sse.wire.encoder import encode_data
from django_sse.wire.event import MAX_RETRY

# What str.splitlines takes for a line end and the event stream format does not.
OTHER_LINE_ENDS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
# Characters that a careless encoder or decoder stumbles on are much more likely than others.
AWKWARD = st.sampled_from(["\r", "\n", "\r\n", "\n\n", ":", " ", "\0", "\ufeff", *OTHER_LINE_ENDS])
FORGERIES = st.sampled_from(
    ["data: x", "\n\ndata: forged\n\n", "\rid: 9", "event: e", ":\n", "retry:0"]
)
texts = st.lists(AWKWARD | FORGERIES | st.text(max_size=10), max_size=8).map("".join)
types = texts.filter(lambda text: text and not re.search("[\r\n\0]", text))
ids = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=40)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
events = st.builds(
    Event,
    data=texts | json_values,
    event=st.none() | types,
    id=st.none() | ids,
    retry=st.none() | st.integers(0, MAX_RETRY),
)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The bytes in pieces, some of them empty, cut at the places (modulo the length)."""
    borders = sorted(place % (len(data) + 1) for place in places)
    for start, end in zip([0, *borders], [*borders, len(data)], strict=True):
        yield data[start:end]


def received(event: Event, last_event_id: str) -> MessageEvent:
    """What a client sees of an event: line ends in data come as LF."""
    data = event.data if isinstance(event.data, str) else dumps(event.data)
    text = data.replace("\r\n", "\n").replace("\r", "\n")
    return MessageEvent(event.event or "message", text, event.id or last_event_id)


class Encoder(json.JSONEncoder):
    def default(self, o: Any) -> Any:
        return str(o) if isinstance(o, datetime.date) else super().default(o)


class Sly(str):
    """A str whose formatted form is another text than its characters."""

    __slots__ = ()

    def __str__(self) -> str:
        return "x\n\ndata: forged"

    def __format__(self, spec: str) -> str:
        return "x\n\ndata: forged"


def test_a_frame_has_id_retry_event_and_data_in_this_order() -> None:
    frame = encode(Event("x", event="tick", id="7", retry=3000))

    assert frame == b"id: 7\nretry: 3000\nevent: tick\ndata: x\n\n"


def test_a_frame_has_only_the_fields_that_are_set() -> None:
    assert encode(Event("x")) == b"data: x\n\n"
    assert encode(Event("x", event="e")) == b"event: e\ndata: x\n\n"
    assert encode(Event("x", retry=0)) == b"retry: 0\ndata: x\n\n"


def test_every_frame_carries_data() -> None:
    assert encode(Event("")) == b"data: \n\n"
    assert encode(Event(None)) == b"data: null\n\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_data_is_split_at_the_line_ends_of_the_format(end: str) -> None:
    assert encode_body(None, f"a{end}{end}b{end}") == b"data: a\ndata: \ndata: b\ndata: \n\n"


@pytest.mark.parametrize("character", OTHER_LINE_ENDS)
def test_data_is_not_split_anywhere_else(character: str) -> None:
    text = f"a{character}b"

    assert encode_body("e", text) == f"event: e\ndata: {text}\n\n".encode()


@given(st.lists(events, max_size=6), st.lists(st.integers(0, 2000), max_size=20))
def test_any_events_survive_encode_cut_anywhere_decode(
    sent: list[Event], places: list[int]
) -> None:
    decoder = Decoder()
    expected: list[MessageEvent] = []
    for event in sent:
        expected.append(received(event, expected[-1].last_event_id if expected else ""))
    stream = b"".join(encode(event) for event in sent)

    assert [event for chunk in cut(stream, places) for event in decoder.feed(chunk)] == expected
    retries = [event.retry for event in sent if event.retry is not None]
    assert decoder.reconnection_time == (retries[-1] if retries else None)
    assert not decoder.unfinished


@given(texts | json_values)
def test_the_short_way_for_data_alone_makes_the_same_frame(data: object) -> None:
    assert encode_data(data) == encode(Event(data))


@pytest.mark.parametrize("data", [b"bytes", bytearray(), "\ud800", float("nan"), object()])
def test_the_short_way_refuses_what_an_event_refuses(data: object) -> None:
    with pytest.raises((InvalidEvent, DataNotSerializable)) as refused:
        encode_data(data)
    with pytest.raises(type(refused.value)):
        encode(Event(data))


@given(json_values)
def test_any_json_value_survives(value: object) -> None:
    (event,) = Decoder().feed(encode(Event([value])))

    assert json.loads(event.data) == [value]


@given(st.lists(events, min_size=1, max_size=4))
def test_heartbeats_between_frames_change_nothing(sent: list[Event]) -> None:
    frames = [encode(event) for event in sent]

    plain, beating = Decoder(), Decoder()
    assert plain.feed(b"".join(frames)) == beating.feed(
        HEARTBEAT + HEARTBEAT.join(frames) + HEARTBEAT
    )


def test_a_heartbeat_is_a_bare_comment_line_without_a_blank_line() -> None:
    assert HEARTBEAT == b":\n"


@given(texts, st.text(st.characters(codec=None), max_size=8) | texts, texts | ids)
def test_no_text_in_any_field_forges_a_frame(data: str, type: str, id: str) -> None:
    try:
        frame = with_id(id, encode_body(type, data))
    except InvalidEvent:
        return
    before, after = encode(Event("before")), encode(Event("after"))
    decoder = Decoder()
    seen = decoder.feed(before + frame + after)

    assert [event.data for event in seen[::2]] == ["before", "after"]
    assert seen[1:-1] == [received(Event(data, event=type, id=id), "")]
    assert decoder.reconnection_time is None
    assert decoder.ignored_lines == 0


@pytest.mark.parametrize("type", ["", "a\nb", "a\rb", "a\0b", "x\n\ndata: forged", "\ud800"])
def test_a_type_from_elsewhere_is_checked_when_it_is_encoded(type: str) -> None:
    with pytest.raises(InvalidEvent):
        encode_body(type, "x")


@pytest.mark.parametrize("id", ["", "a\nb", "a\rb", "a\0b", "é", "x" * 1281])
def test_an_id_from_elsewhere_is_checked_when_it_is_set(id: str) -> None:
    with pytest.raises(InvalidEvent):
        with_id(id, b"data: x\n\n")


def test_a_lone_surrogate_from_elsewhere_is_refused_when_it_is_encoded() -> None:
    with pytest.raises(InvalidEvent, match="data has a lone surrogate"):
        encode_body(None, "a\udc80")


def test_a_str_that_formats_as_another_text_is_sent_as_its_characters() -> None:
    assert encode(Event(Sly("safe"), event=Sly("e"))) == b"event: e\ndata: safe\n\n"
    assert encode_body(Sly("e"), Sly("safe")) == b"event: e\ndata: safe\n\n"
    assert type(data_text(Sly("safe"))) is str


def test_with_id_puts_the_id_before_the_body() -> None:
    event = Event("a\nb", event="e", id="x-1")

    assert with_id("x-1", encode_body("e", "a\nb")) == encode(event)


def test_a_str_is_sent_as_it_is_and_everything_else_as_json() -> None:
    assert data_text("a") == "a"
    assert data_text('"a"') == '"a"'
    assert data_text(["a", 1, None, True]) == '["a",1,null,true]'


def test_json_is_compact_unicode_text_on_one_line() -> None:
    assert dumps({"a": ["é", "注"], "b": "\n"}) == '{"a":["é","注"],"b":"\\n"}'


def test_json_escapes_the_line_ends_of_older_javascript() -> None:
    text = dumps(["a\u2028b\u2029"])

    assert text == '["a\\u2028b\\u2029"]'
    assert json.loads(text) == ["a\u2028b\u2029"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_refused(number: float) -> None:
    with pytest.raises(DataNotSerializable, match="list"):
        dumps([number])


def looped() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


def nested() -> list[object]:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        (decimal.Decimal(1), "Decimal"),
        ({"at": datetime.date(2026, 1, 1)}, "date"),
        ({(1, 2): 3}, "tuple"),
        ([b"x"], "bytes"),
        (looped(), "list"),
        (nested(), "list"),
        (["\ud800"], "surrogate"),
    ],
    ids=["object", "set", "decimal", "date", "key", "bytes", "loop", "depth", "surrogate"],
)
def test_data_that_is_no_json_is_refused_with_its_type_and_the_way_out(
    value: object, name: str
) -> None:
    with pytest.raises(DataNotSerializable, match=rf"{name}(.|\n)*Send a str.*JSON encoder"):
        dumps(value)
    with pytest.raises(DataNotSerializable):
        encode(Event(value))


def test_the_encoder_is_the_callers() -> None:
    day = datetime.date(2026, 1, 2)

    assert dumps({"day": day}, Encoder) == '{"day":"2026-01-02"}'
    assert encode(Event(day), Encoder) == b'data: "2026-01-02"\n\n'
    with pytest.raises(DataNotSerializable, match="by Encoder"):
        dumps(object(), Encoder)


def test_a_value_is_encoded_after_one_that_failed() -> None:
    with pytest.raises(DataNotSerializable):
        dumps([object()])

    assert dumps([1]) == "[1]"


def test_an_error_of_the_callers_own_encoder_comes_through() -> None:
    class Broken(json.JSONEncoder):
        def default(self, o: Any) -> Any:
            raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        dumps(object(), Broken)
