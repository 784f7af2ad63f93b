from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.notifiers import Wakeup
from django_sse.notifiers.payload import (
    ENVIRONMENT,
    MAX_LENGTH,
    MAX_MESSAGES,
    InvalidPayload,
    Reader,
    UnknownVersion,
    address,
    decode,
    encode,
)
from django_sse.wire import make_epoch
from django_sse.wire.cursor import NO_TAG

EPOCH = "abcdefghijk"
TAG = "abc123"
WAKEUPS = st.lists(
    st.builds(
        Wakeup,
        st.text(min_size=1, max_size=200),
        st.sampled_from(["", EPOCH]),
        st.integers(0, (1 << 63) - 1),
        st.sampled_from(["", NO_TAG, TAG]),
    )
)


def message(*parts: object) -> str:
    return json.dumps(parts)


def all_decoded(messages: list[str], environment: str = "") -> list[Wakeup] | None:
    found: list[Wakeup] = []
    for each in messages:
        wakeups = decode(each, environment)
        if wakeups is None:
            return None
        found += wakeups
    return found


@given(WAKEUPS)
def test_what_is_said_is_understood(wakeups: list[Wakeup]) -> None:
    assert all_decoded(encode(wakeups, "")) in (wakeups, None)


@given(WAKEUPS)
def test_every_message_fits_into_a_notify_whatever_the_encoding_of_the_database(
    wakeups: list[Wakeup],
) -> None:
    for each in encode(wakeups * 50, "production"):
        assert len(each.encode("ascii")) <= MAX_LENGTH < 8000


def test_as_many_as_fit_go_into_one_message() -> None:
    wakeups = [Wakeup(f"order-{number}", make_epoch(), number, TAG) for number in range(500)]
    messages = encode(wakeups, "")
    assert len(messages) == 3
    assert all_decoded(messages) == wakeups


def test_the_longest_names_are_spread_over_messages() -> None:
    wakeups = [
        Wakeup("\N{GRINNING FACE}" * 200, EPOCH, number, TAG) for number in range(3 * MAX_MESSAGES)
    ]
    assert len(encode(wakeups, "")) == MAX_MESSAGES
    assert all_decoded(encode(wakeups, "")) == wakeups


def test_too_many_are_one_word() -> None:
    wakeups = [Wakeup("x" * 200, EPOCH, number, TAG) for number in range(1000)]
    (only,) = encode(wakeups, "")
    assert decode(only, "") is None


def test_something_changed_is_one_message_and_nothing_is_none() -> None:
    (only,) = encode(None, "staging")
    assert decode(only, "staging") is None
    assert encode([], "staging") == []


def test_another_environment_is_not_for_us_whatever_its_version() -> None:
    (told,) = encode([Wakeup("a", EPOCH, 1, TAG)], "staging")
    assert decode(told, "production") == []
    assert decode(message(99, "staging", "?"), "production") == []


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        b"[1, '', []]",
        {"type": "x"},
        "",
        "carrier pigeon",
        "[" * 7000,
        "7" * 5000,
        "[]",
        "[1]",
        "{}",
        "[true, '', []]",
        message("1", "", []),
        message(True, "", []),
        message(1.0, "", []),
        message(1, None, []),
        message(1, ""),
        message(1, "", [], []),
        message(1, "", {"a": 1}),
        message(1, "", "abc"),
        message(1, "", ["abc"]),
        message(1, "", [[]]),
        message(1, "", [["a", EPOCH, 1]]),
        message(1, "", [["a", EPOCH, "1", TAG]]),
        message(1, "", [["a", EPOCH, True, TAG]]),
        message(1, "", [["a", EPOCH, 1.5, TAG]]),
        message(1, "", [["a", EPOCH, -1, TAG]]),
        message(1, "", [["a", EPOCH, 1 << 63, TAG]]),
        message(1, "", [["a", "short", 1, TAG]]),
        message(1, "", [["", EPOCH, 1, TAG]]),
        message(1, "", [["x" * 201, EPOCH, 1, TAG]]),
        message(1, "", [["a", EPOCH, 1, 7]]),
        message(1, "", [["a", EPOCH, 1, TAG + "x"]]),
        message(1, "", [["a", EPOCH, 1, TAG], ["a", EPOCH, -1, TAG]]),
        message(1, "", []) + " " * MAX_LENGTH,
    ],
    ids=lambda payload: repr(payload)[:30],
)
def test_what_is_malformed_is_refused_and_said_once(
    payload: object, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidPayload):
        decode(payload, "")
    reader = Reader("NOTIFY")
    for _ in range(3):
        reader.read(payload, "", lambda wakeup: pytest.fail("it was believed"))
    (record,) = caplog.records
    assert "NOTIFY" in record.getMessage()


def test_each_kind_of_nonsense_is_said_once_and_nothing_of_it_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = Reader("NOTIFY")
    for number in range(1000):
        reader.read(f"nonsense {number}", "", lambda wakeup: None)
        reader.read(number, "", lambda wakeup: None)
    assert len(caplog.records) == 2
    assert "nonsense" not in caplog.text


def test_an_unknown_version_means_that_something_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    future = message(2, "", {"anything": "else"})
    with pytest.raises(UnknownVersion):
        decode(future, "")
    heard: list[Wakeup | None] = []
    reader = Reader("NOTIFY")
    reader.read(future, "", heard.append)
    reader.read(future, "", heard.append)
    assert heard == [None, None]
    assert len(caplog.records) == 1


def test_a_message_is_read_in_its_order() -> None:
    wakeups = [Wakeup("b", EPOCH, 2, TAG), Wakeup("a", "", 1, TAG)]
    heard: list[Wakeup | None] = []
    Reader("NOTIFY").read(encode(wakeups, "")[0], "", heard.append)
    assert heard == wakeups


@pytest.mark.parametrize("environment", ["", "staging", "a" * 40, "A-b_c.9"])
def test_an_address_is_a_name_for_channels_and_for_postgresql(environment: str) -> None:
    from channels.layers import BaseChannelLayer

    assert ENVIRONMENT.fullmatch(environment)
    assert BaseChannelLayer().require_valid_group_name(address(environment))
    assert len(address(environment)) < 63


@pytest.mark.parametrize("environment", ["a b", "\u00e4", 'a"b', "a" * 41, "a\n"])
def test_what_could_not_be_a_name_is_no_environment(environment: str) -> None:
    assert not ENVIRONMENT.fullmatch(environment)
