"""Which of a generator's refused values are given to its encoder a second time."""

from __future__ import annotations

from typing import Any

import pytest

from django_sse.dialects.plain import PLAIN, PlainEncoder
from django_sse.exceptions import InexpressibleValue, InvalidEvent
from django_sse.streams.cleaner import Cleaner

REFUSED = InvalidEvent("a NUL")


class Counting(PlainEncoder):
    """One whose next event depends on those before."""

    stateless = False


def test_a_value_with_such_a_character_is() -> None:
    assert Cleaner("A stream").value("a\0", REFUSED, PLAIN) == "a\ufffd"


def circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("value", ["text", object(), circular()])
def test_a_value_that_was_refused_for_something_else_is_not(value: Any) -> None:
    with pytest.raises(InvalidEvent) as raised:
        Cleaner("A stream").value(value, REFUSED, PLAIN)
    assert raised.value is REFUSED


def test_nor_is_one_that_may_have_changed_its_encoder() -> None:
    encoder = Counting()
    with pytest.raises(InvalidEvent):
        Cleaner("A stream").value("a\0", REFUSED, encoder)
    # A dialect's own refusal leaves it as it was.
    refused = InexpressibleValue("a NUL")
    assert Cleaner("A stream").value("a\0", refused, encoder) == "a\ufffd"


def test_the_log_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    cleaner = Cleaner("The run 1")
    for _ in range(3):
        cleaner.value("a\0", REFUSED, PLAIN)
    (record,) = caplog.records
    assert record.message == "The run 1 has U+FFFD for what cannot be sent: a NUL"
