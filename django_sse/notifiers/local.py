"""No wake-ups between processes: for a site of one process, and for tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from django_sse.notifiers.base import Notifier, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class LocalNotifier(Notifier):
    """What another process publishes is found by the safety poll."""

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        """Nothing: the hubs of this process are told without a notifier."""

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        await asyncio.get_running_loop().create_future()
