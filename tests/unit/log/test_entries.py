from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from django_sse import conf
from django_sse.exceptions import (
    DataNotSerializable,
    EventStreamError,
    EventTooLarge,
    InvalidChannel,
    InvalidEvent,
    InvalidKey,
    WireError,
)
from django_sse.internal_channels import internal_channel, is_internal
from django_sse.log.base import Entry, Kind, State
from django_sse.log.entries import KEY_LENGTH, as_event, key_hash, make_entry, validate_channel
from django_sse.models import Run
from django_sse.wire.decoder import Decoder
from django_sse.wire.encoder import encode_body
from django_sse.wire.event import Event


class Upper(DjangoJSONEncoder):
    """Writes bytes, which no other encoder takes."""

    def default(self, value: Any) -> Any:
        return value.decode().upper() if isinstance(value, bytes) else super().default(value)


class Room(models.TextChoices):
    LOBBY = "lobby", "The lobby"


# -- the channel


@pytest.mark.parametrize(
    "name", ["a", "x" * 200, "😀" * 200, "Order a/b:ü.€ ", "\u2028", "%s", "0"]
)
def test_a_name_passes_as_it_is(name: str) -> None:
    assert validate_channel(name) == name


@pytest.mark.parametrize("name", [None, 1, b"room", ["room"], gettext_lazy("room")])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(InvalidChannel, match="must be a str, not "):
        validate_channel(name)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidChannel, match="empty"):
        validate_channel("")


def test_a_name_of_201_characters_is_refused() -> None:
    with pytest.raises(InvalidChannel, match="200 characters, not 201"):
        validate_channel("x" * 201)


@pytest.mark.parametrize("character", ["\0", "\r", "\n", "\t", "\x1f", "\x7f", "\x80", "\x9f"])
@pytest.mark.parametrize("place", ["{}room", "ro{}om", "room{}"])
def test_a_control_character_in_a_name_is_refused(character: str, place: str) -> None:
    with pytest.raises(InvalidChannel, match="control characters") as caught:
        validate_channel(place.format(character))
    # Goes to a log: what was refused must not forge a line there.
    assert character not in str(caught.value)


def test_a_lone_surrogate_in_a_name_is_refused_and_can_be_told() -> None:
    with pytest.raises(InvalidChannel) as caught:
        validate_channel("room-\ud800")
    assert str(caught.value).encode()


@pytest.mark.parametrize("name", [Run(pk=uuid.UUID(int=7)).channel, internal_channel("new", "")])
def test_an_internal_name_is_refused_with_the_way_to_a_run(name: str) -> None:
    with pytest.raises(
        InvalidChannel, match=r"U\+001F.*django_sse\.urls.*without control"
    ) as caught:
        validate_channel(name)
    assert name[0] not in str(caught.value)
    with pytest.raises(InvalidChannel, match=r"django_sse\.urls"):
        make_entry(name, Event("x"))
    assert validate_channel(name, internal=True) == name


@pytest.mark.parametrize("name", ["run:7", "\N{SYMBOL FOR UNIT SEPARATOR}run:7", "\u2028run:7"])
def test_a_name_that_looks_like_an_internal_one_is_everybodys(name: str) -> None:
    assert validate_channel(name) == name
    assert not is_internal(name)


def test_an_internal_name_keeps_the_other_rules() -> None:
    name = internal_channel("run", 7)
    for wrong in (f"{name}\n", f"{name}{name}", f" {name}", name + "x" * 200):
        with pytest.raises(InvalidChannel, match=r"control|200"):
            validate_channel(wrong, internal=True)


def test_a_refused_name_is_a_value_error_of_ours() -> None:
    assert issubclass(InvalidChannel, ValueError)
    assert issubclass(InvalidChannel, EventStreamError)


# -- the event


def test_data_becomes_an_event() -> None:
    assert as_event({"a": 1}) == Event({"a": 1})
    assert as_event("text", "type") == Event("text", event="type")
    assert as_event(None) == Event(None)


def test_an_event_passes_as_it_is() -> None:
    event = Event("text", event="type")
    assert as_event(event) is event


def test_an_event_and_a_type_are_one_type_too_many() -> None:
    with pytest.raises(InvalidEvent, match="not both"):
        as_event(Event("text"), "type")


@pytest.mark.parametrize("type", ["a\rb", "a\nb", "a\0b", "a\r\ndata: forged", ""])
def test_a_type_that_could_forge_a_frame_is_refused(type: str) -> None:
    with pytest.raises(InvalidEvent):
        as_event("text", type)


@pytest.mark.parametrize("id", ["a\rb", "a\nb", "a\0b", "ü", "x" * 1025])
def test_an_id_that_could_forge_a_frame_is_refused(id: str) -> None:
    with pytest.raises(InvalidEvent):
        make_entry("c", Event("text", id=id))


@pytest.mark.parametrize("event", [Event("x", id="1"), Event("x", retry=1), Event("x", retry=0)])
def test_an_event_of_the_log_has_no_id_and_no_retry_of_its_own(event: Event) -> None:
    with pytest.raises(InvalidEvent, match="Remove them"):
        make_entry("c", event)


def test_an_event_becomes_an_entry() -> None:
    assert make_entry("c", Event("text")) == Entry("c", "", "text", Kind.EVENT, State.OPEN)
    terminal = make_entry("c", Event("x", event="t"), kind=Kind.TERMINAL, state=State.ERROR)
    assert terminal == Entry("c", "t", "x", Kind.TERMINAL, "error")


def test_a_type_of_200_characters_is_the_longest() -> None:
    assert make_entry("c", Event("x", event="ü" * 200)).type == "ü" * 200
    with pytest.raises(InvalidEvent, match="200 characters"):
        make_entry("c", Event("x", event="x" * 201))


def test_the_name_is_looked_at_first() -> None:
    with pytest.raises(InvalidChannel):
        make_entry("", Event("x", id="1"))


# -- the data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("plain ü", "plain ü"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (0, "0"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        ({"line\u2028": "\u2029"}, '{"line\\u2028":"\\u2029"}'),
        ({"nul": "\0"}, '{"nul":"\\u0000"}'),
        (datetime.date(2026, 11, 21), '"2026-11-21"'),
        (Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (gettext_lazy("lazy"), '"lazy"'),
        (Room.LOBBY, "lobby"),
    ],
)
def test_text_is_stored_as_it_is_and_all_else_as_json(data: object, text: str) -> None:
    entry = make_entry("c", Event(data))
    assert entry.data == text
    assert type(entry.data) is str


@pytest.mark.parametrize(
    "data", [object(), {1, 2}, {"a": object()}, float("nan"), [float("inf")], {(1, 2): 3}]
)
def test_data_that_is_no_json_is_refused_with_a_name(data: object) -> None:
    with pytest.raises(DataNotSerializable, match=type(data).__name__) as caught:
        make_entry("c", Event(data))
    assert isinstance(caught.value, WireError)
    assert isinstance(caught.value, ValueError)


def test_data_that_contains_itself_is_refused() -> None:
    data: list[Any] = []
    data.append(data)
    with pytest.raises(DataNotSerializable):
        make_entry("c", Event(data))


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"x"), memoryview(b"x")])
def test_binary_data_is_refused_with_the_way_out(data: object) -> None:
    with pytest.raises(InvalidEvent, match="decode"):
        make_entry("c", Event(data))


def test_a_nul_in_data_is_refused_on_every_database() -> None:
    with pytest.raises(InvalidEvent, match="NUL"):
        make_entry("c", Event("a\0b"))


@pytest.mark.parametrize("data", ["\ud800", ["\udfff"], {"\ud800": 1}])
def test_a_lone_surrogate_in_data_is_refused(data: object) -> None:
    with pytest.raises((InvalidEvent, DataNotSerializable), match="surrogate"):
        make_entry("c", Event(data))


def test_the_projects_encoder_is_used(settings: Any) -> None:
    settings.DJANGO_SSE = {"JSON_ENCODER": f"{__name__}.Upper"}
    assert conf.json_encoder() is Upper
    assert make_entry("c", Event([b"loud"])).data == '["LOUD"]'


def test_the_largest_event_is_counted_in_encoded_bytes(settings: Any) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"MAX_EVENT_BYTES": 10}}
    assert make_entry("c", Event("ü" * 5)).data == "ü" * 5
    with pytest.raises(EventTooLarge, match=r"12 bytes.*MAX_EVENT_BYTES \(10\)"):
        make_entry("c", Event("ü" * 6))
    with pytest.raises(EventTooLarge):
        make_entry("c", Event({"key": "value"}))
    assert issubclass(EventTooLarge, ValueError)


@given(
    type=st.none() | st.text(min_size=1, max_size=200),
    data=st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5),
)
def test_whatever_is_accepted_arrives_as_one_frame(type: str | None, data: object) -> None:
    try:
        entry = make_entry("c", Event(data, event=type))
    except (InvalidEvent, DataNotSerializable):
        return
    assert "\0" not in entry.data
    decoder = Decoder()
    (message,) = decoder.feed(encode_body(entry.type or None, entry.data))
    assert message.type == (type or "message")
    assert message.data == entry.data.replace("\r\n", "\n").replace("\r", "\n")


# -- keys


def test_an_entry_has_a_hash_of_its_channel_and_its_key() -> None:
    assert make_entry("c", Event("x")).key_hash == ""
    names = [("c", "k"), ("d", "k"), ("c", "K"), ("ck", "k"), ("c", "\nk"), ("c", "k\0\ud800")]
    found = {make_entry(channel, Event("x"), key=key).key_hash for channel, key in names}
    assert len(found) == len(names)
    assert {len(each) for each in found} == {64}
    assert len(key_hash("c", "😀" * KEY_LENGTH)) == 64


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("", "must not be empty.*key=None"),
        ("x" * (KEY_LENGTH + 1), "at most 200 characters, not 201"),
        (7, "must be a str, not int.*order"),
        (b"k", "must be a str, not bytes"),
    ],
    ids=["empty", "long", "number", "bytes"],
)
def test_a_key_that_names_no_event_is_refused(key: Any, match: str) -> None:
    with pytest.raises(InvalidKey, match=match):
        make_entry("c", Event("x"), key=key)
