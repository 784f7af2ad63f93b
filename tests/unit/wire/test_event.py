from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.wire import Event, InvalidEvent
from django_sse.wire.event import MAX_ID_LENGTH, MAX_RETRY


class Status(enum.StrEnum):
    PAID = "paid"


class Sly(str):
    """A str whose formatted form is another text than its characters."""

    __slots__ = ()

    def __str__(self) -> str:
        return "x\nid: forged"

    def __format__(self, spec: str) -> str:
        return "x\nid: forged"


def test_only_data_is_required() -> None:
    event = Event({"a": 1})

    assert (event.data, event.event, event.id, event.retry) == ({"a": 1}, None, None, None)


def test_fields_are_positional_in_the_order_data_event_id_retry() -> None:
    assert Event("d", "e", "i", 5) == Event(data="d", event="e", id="i", retry=5)


@pytest.mark.parametrize("field", ["data", "event", "id", "retry"])
def test_an_event_is_frozen(field: str) -> None:
    event = Event("x")

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, field, "y")
    assert event == Event("x")


def test_an_event_has_no_room_for_other_attributes() -> None:
    assert not hasattr(Event("x"), "__dict__")


def test_events_compare_hash_and_print_by_their_fields() -> None:
    assert Event("x", id="1") == Event("x", id="1")
    assert Event("x", id="1") != Event("x", id="2")
    assert len({Event("x", id="1"), Event("x", id="1")}) == 1
    assert repr(Event("x", event="e")) == "Event(data='x', event='e', id=None, retry=None)"


def test_replace_checks_the_new_field() -> None:
    event = Event("x", event="e")

    assert dataclasses.replace(event, id="1") == Event("x", event="e", id="1")
    with pytest.raises(InvalidEvent):
        dataclasses.replace(event, id="a\nb")


def test_an_event_survives_copy_and_pickle() -> None:
    event = Event({"a": [1]}, event="e", id="1", retry=3)

    assert copy.deepcopy(event) == event
    assert pickle.loads(pickle.dumps(event)) == event


@pytest.mark.parametrize("data", [None, "", 0, True, 1.5, [], {}, object(), "a\r\nb\0"])
def test_any_data_but_binary_is_taken(data: object) -> None:
    assert Event(data).data is data


@pytest.mark.parametrize("data", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_binary_data_is_refused_with_the_way_out(data: object) -> None:
    with pytest.raises(InvalidEvent, match=rf"not {type(data).__name__}.*decode"):
        Event(data)


@pytest.mark.parametrize("event", ["a\nb", "a\rb", "\r\n", "a\0b", "x\n\ndata: forged"])
def test_a_type_with_a_line_end_or_nul_is_refused(event: str) -> None:
    with pytest.raises(InvalidEvent, match="CR, LF or NUL"):
        Event("x", event=event)


def test_an_empty_type_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="None"):
        Event("x", event="")


@pytest.mark.parametrize("event", [1, b"x", ["x"], object()])
def test_a_type_that_is_no_str_is_refused_by_its_name(event: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"not {type(event).__name__}"):
        Event("x", event=event)


@pytest.mark.parametrize("event", ["é", "注文", "a b", " a", "a:b", "\u2028", "\x85", "\ufeff"])
def test_a_type_may_have_any_other_character(event: str) -> None:
    assert Event("x", event=event).event == event


@pytest.mark.parametrize("id", ["1", "a-1.b-2", " ", "~", "x" * MAX_ID_LENGTH])
def test_an_id_is_printable_ascii(id: str) -> None:
    assert Event("x", id=id).id == id


@pytest.mark.parametrize("id", ["\0", "a\nb", "\r", "\t", "\x1f", "\x7f", "é", "\u2028", "\udc80"])
def test_an_id_with_any_other_character_is_refused(id: str) -> None:
    with pytest.raises(InvalidEvent, match="printable ASCII"):
        Event("x", id=id)


def test_an_over_long_id_is_refused_and_not_quoted() -> None:
    with pytest.raises(InvalidEvent, match=re.escape("at most 1280 characters, not 1281")):
        Event("x", id="y" * 1281)


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="empty"):
        Event("x", id="")


@pytest.mark.parametrize("id", [1, b"1", object(), True])
def test_an_id_that_is_no_str_is_refused_by_its_name(id: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"not {type(id).__name__}"):
        Event("x", id=id)


@pytest.mark.parametrize("retry", [0, 1, 3000, MAX_RETRY])
def test_a_retry_is_a_bounded_number_of_milliseconds(retry: int) -> None:
    assert Event("x", retry=retry).retry == retry


@pytest.mark.parametrize("retry", [-1, MAX_RETRY + 1, pytest.param(1 << 20_000, id="huge")])
def test_a_retry_out_of_bounds_is_refused(retry: int) -> None:
    with pytest.raises(InvalidEvent, match="milliseconds"):
        Event("x", retry=retry)


@pytest.mark.parametrize("retry", [True, False, 1.5, "3000", None.__class__])
def test_a_retry_that_is_no_int_is_refused_by_its_name(retry: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"not {type(retry).__name__}"):
        Event("x", retry=retry)


def test_a_lone_surrogate_is_refused_in_data_and_type_with_its_place() -> None:
    with pytest.raises(InvalidEvent, match="data has a lone surrogate at index 2"):
        Event("ab\ud800")
    with pytest.raises(InvalidEvent, match="event has a lone surrogate at index 0"):
        Event("x", event="\udfff")


def test_an_enum_member_becomes_the_plain_text_it_is() -> None:
    event = Event("x", event=Status.PAID, id=Status.PAID)

    assert type(event.event) is str
    assert type(event.id) is str
    assert event.event == event.id == "paid"


def test_what_is_checked_is_what_is_kept_for_a_str_that_formats_as_another_text() -> None:
    event = Event("x", event=Sly("safe"), id=Sly("safe"))

    assert f"{event.event} {event.id}" == "safe safe"


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_fields_are_kept_to_the_letter_or_refused(data: str, event: str) -> None:
    try:
        made = Event(data, event=event)
    except InvalidEvent:
        surrogates = any("\ud800" <= character <= "\udfff" for character in data + event)
        assert surrogates or not event or {"\r", "\n", "\0"} & set(event)
    else:
        assert (made.data, made.event) == (data, event)
