"""The empty epoch: the channel that it identifies, and its age."""

from __future__ import annotations

from typing import Any

import pytest

from django_sse.log.empty import empty_epoch, newest_minute
from django_sse.wire.cursor import Cursor, Position, is_empty, make_epoch

MINUTE = 29_000_000


def test_it_is_the_epoch_of_a_position() -> None:
    epoch = empty_epoch("a", MINUTE)
    cursor = Cursor((Position(epoch, 0, "0"), Position(make_epoch(), 0, "0")))
    assert Cursor.parse(str(cursor)) == cursor
    assert is_empty(epoch)
    assert not is_empty(make_epoch())


def test_it_tells_its_own_channel_and_no_other() -> None:
    epochs = [empty_epoch("a", MINUTE), empty_epoch("b", MINUTE + 5), make_epoch()]
    assert newest_minute("a", epochs) == MINUTE
    assert newest_minute("b", epochs) == MINUTE + 5
    assert newest_minute("c", epochs) is None
    assert "room" not in empty_epoch("room", MINUTE)


def test_of_several_minutes_the_newest_counts() -> None:
    epochs = [empty_epoch("a", minute) for minute in (MINUTE, MINUTE + 2, MINUTE + 1)]
    assert newest_minute("a", epochs) == MINUTE + 2


def test_a_minute_that_a_client_made_up_is_the_oldest() -> None:
    assert newest_minute("a", [empty_epoch("a", MINUTE)[:-6] + "zzzzzz"]) == 0


@pytest.mark.parametrize("fallbacks", [["old"], []])
def test_it_outlives_a_new_secret_key_that_has_the_old_one_as_fallback(
    settings: Any, fallbacks: list[str]
) -> None:
    settings.SECRET_KEY = "old"
    epoch = empty_epoch("a", MINUTE)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", fallbacks
    assert newest_minute("a", [epoch]) == (MINUTE if fallbacks else None)
