"""The hubs of this process, and telling them and the other processes what was committed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_sse.log import get_log
from django_sse.notifiers import Wakeup, get_notifier
from django_sse.process.per_loop import PerLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from django_sse.hub.hub import Hub
    from django_sse.log.base import Appended

logger = logging.getLogger("django_sse")


def _make_hub(loop: asyncio.AbstractEventLoop) -> Hub:
    # Here, because a process that only publishes needs none.
    from django_sse.hub.hub import Hub

    return Hub(loop)


_hubs: PerLoop[Hub] = PerLoop(_make_hub)
get_hub = _hubs.get
"""Return the hub of the running loop. Raises ``RuntimeError`` where no loop runs."""


def deliver(appended: Sequence[Appended]) -> None:
    """Hand what this process committed to its hubs; from any thread."""
    if appended:
        for hub in _hubs.all():
            hub.deliver(appended)


def announce(appended: Sequence[Appended]) -> None:
    """Hand what this process committed to its hubs and wake the other processes; any thread."""
    if not appended:
        return
    deliver(appended)
    _notify([Wakeup(each.channel, *each.position) for each in appended])


def _notify(wakeups: Sequence[Wakeup]) -> None:
    try:
        get_notifier().notify(wakeups)
    except Exception:
        # The events are committed, and other processes will find them with their safety polls. A
        # caller that got this error would publish them again.
        logger.exception("Other processes could not be told of committed events.")


def look_again(channels: Sequence[str]) -> None:
    """Make all processes compare ``channels`` with the log after a change that is no event."""
    heads = get_log().heads(channels).values()
    for hub in _hubs.all():
        hub.check_soon()
    # An empty epoch differs from theirs, which makes them check.
    _notify([Wakeup(head.channel, "", head.head, head.head_tag) for head in heads])
