from __future__ import annotations

import dataclasses
import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.wire import Cursor, Event, InvalidCursor, Position, make_epoch
from django_sse.wire.cursor import (
    EPOCH_LENGTH,
    MAX_CHANNELS,
    MAX_LENGTH,
    NO_TAG,
    make_nonce,
    tag_of,
)

A = "aaaaaaaaaaa"
B = "b0123456789"
TAG = "0v3k9a"
MAX_SEQ = 2**63 - 1


def at(epoch: str, seq: int, tag: str = TAG) -> Position:
    return Position(epoch, seq, tag if seq else NO_TAG)


epochs = st.text(string.ascii_lowercase + string.digits, min_size=11, max_size=11)
cursors = st.lists(
    st.builds(at, epochs, st.integers(0, MAX_SEQ), st.integers(0, MAX_SEQ).map(tag_of)),
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
    positions = tuple(at(f"{number:011d}", MAX_SEQ) for number in range(MAX_CHANNELS))
    text = str(Cursor(positions))

    assert len(text) == 1247 <= MAX_LENGTH
    assert Cursor.parse(text).positions == positions


def test_the_text_is_epoch_seq_and_tag_joined_by_dots() -> None:
    assert str(Cursor((at(A, 12), at(B, 0)))) == f"{A}-12-{TAG}.{B}-0-0"


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
        f"{A}-1",
        f"{A}-1-",
        f"{A}--{TAG}",
        f"{A}-x-{TAG}",
        f"{A}-+1-{TAG}",
        f"{A}-01-{TAG}",
        f"{A}-0-{TAG}",
        f"{A}-00-0",
        f"{A}-1-0",
        f"{A}-1-{TAG[1:]}",
        f"{A}-1-{TAG}0",
        f"{A}-1-{TAG.upper()}",
        f"{A}-1-00000w",
        f"{A}-1-{TAG}-{TAG}",
        f"{A}-1-{TAG}.",
        f".{A}-1-{TAG}",
        f"{A}-1-{TAG}..{B}-1-{TAG}",
        f"{A}-1-{TAG},{B}-1-{TAG}",
        f"{A}-1-{TAG} ",
        f" {A}-1-{TAG}",
        f"{A}-1-{TAG}\n",
        f"{A}-\u0661-{TAG}",
        f"{A}-1_0-{TAG}",
        f"{A.upper()}-1-{TAG}",
        f"{A[1:]}-1-{TAG}",
        f"{A}a-1-{TAG}",
        f"aaaaaaaaaa\u00e9-1-{TAG}",
        f"{A}-{MAX_SEQ + 1}-{TAG}",
        f"{A}-{10**19}-{TAG}",
        f"{A}-1-{TAG}.{A}-2-{TAG}",
        "\0",
        "\udc80",
    ],
)
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)


def test_too_many_channels_are_refused() -> None:
    positions = [f"{number:011d}-1-{TAG}" for number in range(MAX_CHANNELS + 1)]

    with pytest.raises(InvalidCursor, match="32"):
        Cursor.parse(".".join(positions))


def test_an_over_long_text_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidCursor, match="at most 1280 characters, not 1281"):
        Cursor.parse("x" * 1281)


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
        [at(A, 1)],
        None,
        (at(A, 1), at(A, 2)),
        (Position(A, -1, TAG),),
        (Position(A, MAX_SEQ + 1, TAG),),
        (Position(A, True, TAG),),
        (Position(A, "1", TAG),),  # type: ignore[arg-type]
        (Position(A, 1.0, TAG),),  # type: ignore[arg-type]
        (Position(A, 0, TAG),),
        (Position(A, 1, NO_TAG),),
        (Position(A, 1, TAG + "\n"),),
        (Position(A, 1, 1),),  # type: ignore[arg-type]
        (Position("short", 1, TAG),),
        (Position(A + "\n", 1, TAG),),
        (Position(1, 1, TAG),),  # type: ignore[arg-type]
        ((A, 1, TAG),),
        ([A, 1, TAG],),
        tuple(at(f"{number:011d}", 1) for number in range(33)),
    ],
)
def test_an_invalid_cursor_cannot_be_constructed(positions: Any) -> None:
    with pytest.raises(InvalidCursor):
        Cursor(positions)


def test_find_gives_the_position_in_the_channel_of_an_epoch() -> None:
    cursor = Cursor((at(A, 7), at(B, 0)))

    assert cursor.find(A) == (A, 7, TAG)
    assert cursor.find(B) == (B, 0, NO_TAG)
    assert cursor.find("ccccccccccc") is None


def test_a_cursor_is_frozen_and_hashable() -> None:
    cursor = Cursor((at(A, 7),))

    with pytest.raises(dataclasses.FrozenInstanceError):
        cursor.positions = ()  # type: ignore[misc]
    assert len({cursor, Cursor((at(A, 7),))}) == 1


def test_epochs_are_random_and_make_valid_cursors() -> None:
    made = {make_epoch() for _ in range(1000)}

    assert len(made) == 1000
    assert {len(epoch) for epoch in made} == {EPOCH_LENGTH}
    assert all(Cursor((at(epoch, 1),)).find(epoch) for epoch in made)


def test_a_nonce_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for clock in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter_ns"):
        monkeypatch.setattr(time, clock, lambda: 1)
    nonces = {make_nonce() for _ in range(1000)}
    assert len(nonces) == 1000
    assert max(nonces).bit_length() == 63


def test_a_tag_is_the_lowest_30_bits_of_a_nonce_in_base_32() -> None:
    nonces = [make_nonce() for _ in range(1000)]

    assert len(set(nonces)) == 1000
    assert all(0 <= nonce < 2**63 for nonce in nonces)
    assert [int(tag_of(nonce), 32) for nonce in nonces] == [nonce % 2**30 for nonce in nonces]
    assert (tag_of(0), tag_of(2**63 - 1)) == ("000000", "vvvvvv")
