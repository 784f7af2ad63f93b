"""No wake-ups between processes: for sites with one process, and for tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from django_sse.notifiers.base import Notifier, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class LocalNotifier(Notifier):
    """A notifier that sends nothing; the safety poll finds other processes' events."""

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        """Do nothing: the hubs of this process need no notifier."""

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        await asyncio.get_running_loop().create_future()
