from __future__ import annotations

import pytest
from django.core.management.base import CommandError

from django_sse import cursor, finish, publish
from tests.unit.management.support import run

pytestmark = pytest.mark.django_db


def epoch(channel: str) -> str:
    return cursor(channel).partition("-")[0]


def test_the_epochs_of_all_channels_are_shown() -> None:
    publish("a", "1")
    publish("a", "2")
    finish("b", "error")
    assert run("sse_epoch").splitlines() == [
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


@pytest.mark.parametrize(
    ("name", "message"), [("b", "no channel 'b'"), ("x\ny", "control characters")]
)
def test_a_channel_that_is_not_there_is_a_clear_error(name: str, message: str) -> None:
    publish("a", "1")
    with pytest.raises(CommandError, match=message):
        run("sse_epoch", "a", name)
