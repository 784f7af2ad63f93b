from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from django_sse.notifiers.base import Notifier, Wakeup


class Minimal(Notifier):
    """No more than a notifier must have."""

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        raise NotImplementedError

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        raise NotImplementedError


def test_a_notifier_has_to_notify_and_to_listen() -> None:
    with pytest.raises(TypeError, match=r"listen.*notify"):
        Notifier()  # type: ignore[abstract]


def test_who_claims_nothing_supports_nothing() -> None:
    notifier = Minimal()
    assert not notifier.supports_other_processes
    assert not notifier.supports_polling
    assert notifier.check() == []


def test_a_wake_up_is_a_position_and_carries_no_content() -> None:
    wakeup = Wakeup("a", "abcdefghijk", 7, "abc123")
    assert (wakeup.channel, wakeup.epoch, wakeup.seq, wakeup.tag) == tuple(wakeup)
