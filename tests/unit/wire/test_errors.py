from __future__ import annotations

import pytest

from django_sse.wire import errors
from django_sse.wire.errors import DecodeError, WireError, excerpt

NAMES = [
    "InvalidEvent",
    "DataNotSerializable",
    "InvalidCursor",
    "DecodeError",
    "LineTooLong",
    "EventTooLong",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_error_is_a_wire_error_and_a_value_error(name: str) -> None:
    error = getattr(errors, name)

    assert issubclass(error, WireError)
    assert issubclass(error, ValueError)


def test_the_limits_of_the_decoder_are_decode_errors() -> None:
    assert issubclass(errors.LineTooLong, DecodeError)
    assert issubclass(errors.EventTooLong, DecodeError)
    assert not issubclass(errors.InvalidEvent, DecodeError)


def test_a_decode_error_has_no_events_unless_the_decoder_gives_it_some() -> None:
    assert DecodeError("x").events == ()


def test_an_excerpt_of_a_short_text_is_its_ascii_repr() -> None:
    assert excerpt("a\r\n\u2028é\udc80") == r"'a\r\n\u2028\xe9\udc80'"


def test_an_excerpt_of_a_long_text_is_bounded_and_tells_the_length() -> None:
    text = excerpt("\N{SNOWMAN}" * 100_000)

    assert text.endswith("... (100000 characters)")
    assert len(text) < 300
    assert text.isascii()
