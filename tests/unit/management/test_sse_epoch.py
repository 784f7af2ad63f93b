from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management.base import CommandError

from django_sse import apublish, cursor, finish, publish
from django_sse.hub.channel_stream import ChannelStream
from django_sse.log import get_log
from django_sse.log.memory import MemoryLog
from django_sse.testing import memory_log
from tests.unit.management.support import run

pytestmark = pytest.mark.django_db


def epoch(channel: str) -> str:
    return cursor(channel).partition("-")[0]


def test_the_epochs_of_all_channels_are_shown() -> None:
    publish("a", "1")
    publish("a", "2")
    finish("b", "error")

    for args in ((), ("--all",)):
        assert run("sse_epoch", *args).splitlines() == [
            f"{epoch('a')}  head 2  open  a",
            f"{epoch('b')}  head 1  error  b",
        ]


def test_the_epochs_of_named_channels_are_shown_in_their_order() -> None:
    for name in "abc":
        publish(name, "1")

    assert run("sse_epoch", "c", "a").splitlines() == [
        f"{epoch('c')}  head 1  open  c",
        f"{epoch('a')}  head 1  open  a",
    ]


def test_showing_rotates_nothing() -> None:
    publish("a", "1")
    before = epoch("a")

    run("sse_epoch", "--all")

    assert epoch("a") == before


def test_named_channels_get_new_epochs_and_the_others_keep_theirs() -> None:
    for name in "abc":
        publish(name, "1")
    before = {name: epoch(name) for name in "abc"}

    assert run("sse_epoch", "--rotate", "a", "b") == "2 rotated.\n"

    assert {name for name in "abc" if epoch(name) != before[name]} == {"a", "b"}


def test_all_channels_get_new_epochs_and_keep_their_events() -> None:
    names = [f"room-{number}" for number in range(3)]
    for name in names:
        publish(name, "1")
    before = {name: epoch(name) for name in names}

    assert run("sse_epoch", "--rotate", "--all") == "3 rotated.\n"

    assert all(epoch(name) != before[name] for name in names)
    assert all(cursor(name).endswith("-1") for name in names)


def test_more_channels_than_a_batch_get_new_epochs() -> None:
    with memory_log():
        rooms = [f"room-{number}" for number in range(1201)]
        before = {head.epoch for head in get_log().open(rooms)}

        run("sse_epoch", "--rotate", "--all")
        after = {head.epoch for head in get_log().open(rooms)}
        assert len(after) == 1201
        assert not before & after
        shown = run("sse_epoch")
        assert all(epoch in shown for epoch in after)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--rotate",), "or pass --all"),
        (("a", "--all"), "not both"),
        (("--rotate", "a", "--all"), "not both"),
        (("b",), "no channel 'b'"),
        (("--rotate", "a", "b"), "no channel 'b'"),
        (("--rotate", "x\ny"), "control characters"),
    ],
)
def test_bad_arguments_are_a_clear_error_and_nothing_is_rotated(
    args: tuple[str, ...], message: str
) -> None:
    publish("a", "1")
    before = epoch("a")

    with pytest.raises(CommandError, match=message):
        run("sse_epoch", *args)

    assert epoch("a") == before


@pytest.fixture
def log(settings: Any) -> Iterator[MemoryLog]:
    # Longer than any test: what is seen at once was told by the command.
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "SAFETY_INTERVAL": 3600.0}
    with memory_log() as log:
        yield log


async def test_a_client_that_is_connected_is_reset_once_and_goes_on(log: MemoryLog) -> None:
    await apublish("room", "1")
    stream = ChannelStream("room", since="earliest")
    opening = b""
    while b"data: 1" not in opening:
        opening += await anext(stream)

    await asyncio.to_thread(run, "sse_epoch", "--rotate", "room")
    reset = await anext(stream)
    await apublish("room", "2")
    event = await anext(stream)
    await stream.aclose()

    new = log.heads(["room"])["room"].epoch
    assert reset.startswith(f"id: {new}-1\nevent: stream-reset\n".encode())
    assert event == f"id: {new}-2\ndata: 2\n\n".encode()
