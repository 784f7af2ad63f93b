"""The contract of a notifier.

- ``notify`` is called after the commit, from any thread, with positions, never with content. It
  must not block for long, and must not raise when the transport is down: the event is safe in the
  log.
- ``listen`` runs until it is cancelled, one call for each hub, on the hub's loop. It calls ``wake``
  on that loop for every position that it receives, and with None whenever it may have missed
  something: at its start, after any gap, for a message that it does not understand.
- Every message is a hint. It may be lost, late, doubled, stale, forged or out of order.
- If ``listen`` raises, the hub logs it and calls it again after a pause.
- The ``OPTIONS`` of the setting ``NOTIFIER`` are the keyword arguments of the constructor, which
  must not connect to anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.core.checks import CheckMessage


class Wakeup(NamedTuple):
    """``channel``, with this ``epoch``, may have events up to ``seq``, which has this ``tag``."""

    channel: str
    epoch: str
    seq: int
    tag: str


class Notifier(ABC):
    """See the module's docstring for what every implementation must hold."""

    supports_other_processes = False
    """Whether a publish in another process is heard at all before the safety poll."""

    supports_polling = False
    """Whether it polls by itself: then a safety poll that finds something is no surprise."""

    @abstractmethod
    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        """Tell the other processes; this one's hubs have the events already."""

    @abstractmethod
    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        """Call ``wake`` for what other processes tell, until cancelled."""

    def check(self) -> list[CheckMessage]:
        """Django system checks for this notifier in the project as it is configured."""
        return []

    def check_reachable(self) -> list[CheckMessage]:
        """Checks that open connections: only for ``manage.py check --deploy``."""
        return []
