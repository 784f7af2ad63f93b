"""A reader notices what is not as it should be; that it gets everything is for test_soak."""

from __future__ import annotations

import pytest

from django_sse.wire import MessageEvent
from tests.integration.many.answers import Reader, Site


def token(seq: int, data: str = "", type: str = "message", epoch: str = "e") -> MessageEvent:
    return MessageEvent(type, data or f"7 {seq - 1}", f"{epoch}-{seq}-t")


def end(seq: int, type: str = "close") -> MessageEvent:
    return MessageEvent(type, "[DONE]", f"e-{seq}-t")


def reader(*events: MessageEvent) -> Reader:
    return Reader(7, Site("", 2, 50.0, []), list(events))


def test_all_is_well() -> None:
    whole = reader(token(1), token(2), end(3))
    whole.check()
    assert whole.over
    reader(token(1), end(2, "error")).check()


@pytest.mark.parametrize(
    "events",
    [
        [token(1), token(3), end(4)],
        [token(1), token(1), token(2), end(3)],
        [token(2), token(1), end(3)],
        [token(1), token(2, "7 0"), end(3)],
        [token(1), token(2, "8 1"), end(3)],
        [token(1), token(2, epoch="f"), end(3)],
        [token(1), end(2), end(3)],
        [token(1), token(2)],
    ],
    ids=[
        "hole",
        "doubled",
        "swapped",
        "a token repeated under an id of its own",
        "another run's",
        "another epoch",
        "two ends",
        "no end",
    ],
)
def test_what_is_wrong_is_noticed(events: list[MessageEvent]) -> None:
    with pytest.raises(AssertionError):
        reader(*events).check()


@pytest.mark.parametrize(
    "event",
    [
        MessageEvent("stream-reset", "{}", "e-1-t"),
        MessageEvent("stream-open", "{}", "e-0-t"),
        MessageEvent("stream-retry", "{}", "e-1-t"),
    ],
    ids=lambda event: event.type,
)
def test_who_comes_back_goes_on_where_it_was(event: MessageEvent) -> None:
    back = reader(token(1))
    back._take(MessageEvent("stream-open", "{}", "e-1-t"))
    with pytest.raises(AssertionError):
        back._take(event)
