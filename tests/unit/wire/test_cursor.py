from __future__ import annotations

import dataclasses
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.wire import Cursor, Event, InvalidCursor, make_epoch
from django_sse.wire.cursor import EPOCH_LENGTH, MAX_CHANNELS, MAX_LENGTH

A = "aaaaaaaaaaa"
B = "b0123456789"
MAX_SEQ = 2**63 - 1

epochs = st.text(string.ascii_lowercase + string.digits, min_size=11, max_size=11)
cursors = st.lists(
    st.tuples(epochs, st.integers(0, MAX_SEQ)),
    min_size=1,
    max_size=MAX_CHANNELS,
    unique_by=lambda position: position[0],
).map(lambda positions: Cursor(tuple(positions)))


@given(cursors)
def test_a_cursor_survives_format_and_parse(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(cursors)
def test_a_cursor_fits_in_an_id(cursor: Cursor) -> None:
    assert Event("x", id=str(cursor)).id == str(cursor)


def test_the_longest_cursor_fits() -> None:
    positions = tuple((f"{number:011d}", MAX_SEQ) for number in range(MAX_CHANNELS))
    text = str(Cursor(positions))

    assert len(text) == 1023 <= MAX_LENGTH
    assert Cursor.parse(text).positions == positions


def test_the_text_is_epoch_and_seq_joined_by_dots() -> None:
    assert str(Cursor(((A, 12), (B, 0)))) == f"{A}-12.{B}-0"


@given(st.text() | st.text("ab0-9.\n ", max_size=60))
def test_any_text_is_a_cursor_in_its_one_spelling_or_refused(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except InvalidCursor:
        return
    assert str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "1",
        A,
        f"{A}-",
        f"{A}-x",
        f"{A}--1",
        f"{A}-+1",
        f"{A}-01",
        f"{A}-00",
        f"{A}-1.",
        f".{A}-1",
        f"{A}-1..{B}-1",
        f"{A}-1,{B}-1",
        f"{A}-1 ",
        f" {A}-1",
        f"{A}-1\n",
        f"{A}-\u0661",
        f"{A}-1\u0661",
        f"{A}-1_0",
        f"{A.upper()}-1",
        f"{A[1:]}-1",
        f"{A}a-1",
        "aaaaaaaaaa\u00e9-1",
        f"{A}-{MAX_SEQ + 1}",
        f"{A}-{10**19}",
        f"{A}-1.{A}-2",
        "\0",
        "\udc80",
    ],
)
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)


def test_too_many_channels_are_refused() -> None:
    positions = [f"{number:011d}-1" for number in range(MAX_CHANNELS + 1)]

    with pytest.raises(InvalidCursor, match="32"):
        Cursor.parse(".".join(positions))


def test_an_over_long_text_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidCursor, match="at most 1024 characters, not 1025"):
        Cursor.parse("x" * 1025)


@pytest.mark.parametrize(
    "text", ["x" * 500, "\N{SNOWMAN}" * 1000, f"{A}-1." * 100_000, "9" * 10**6]
)
def test_the_message_quotes_a_bounded_part_of_the_text(text: str) -> None:
    with pytest.raises(InvalidCursor) as caught:
        Cursor.parse(text)

    assert len(str(caught.value)) < 600
    assert str(caught.value).isascii()


@pytest.mark.parametrize("value", [None, 1, b"aaaaaaaaaaa-1"])
def test_only_a_str_is_parsed(value: Any) -> None:
    with pytest.raises(InvalidCursor, match=type(value).__name__):
        Cursor.parse(value)


@pytest.mark.parametrize(
    "positions",
    [
        (),
        [(A, 1)],
        None,
        ((A, 1), (A, 2)),
        ((A, -1),),
        ((A, MAX_SEQ + 1),),
        ((A, True),),
        ((A, "1"),),
        ((A, 1.0),),
        ((A,),),
        ([A, 1],),
        ((A, 1, 2),),
        (("short", 1),),
        ((A + "\n", 1),),
        ((1, 1),),
        tuple((f"{number:011d}", 1) for number in range(33)),
    ],
)
def test_an_invalid_cursor_cannot_be_constructed(positions: Any) -> None:
    with pytest.raises(InvalidCursor):
        Cursor(positions)


def test_seq_gives_the_position_of_an_epoch() -> None:
    cursor = Cursor(((A, 7), (B, 0)))

    assert cursor.seq(A) == 7
    assert cursor.seq(B) == 0
    assert cursor.seq("ccccccccccc") is None


def test_a_cursor_is_frozen_and_hashable() -> None:
    cursor = Cursor(((A, 7),))

    with pytest.raises(dataclasses.FrozenInstanceError):
        cursor.positions = ()  # type: ignore[misc]
    assert len({cursor, Cursor(((A, 7),))}) == 1


def test_epochs_are_random_and_make_valid_cursors() -> None:
    made = {make_epoch() for _ in range(1000)}

    assert len(made) == 1000
    assert {len(epoch) for epoch in made} == {EPOCH_LENGTH}
    assert all(Cursor(((epoch, 1),)).seq(epoch) == 1 for epoch in made)
