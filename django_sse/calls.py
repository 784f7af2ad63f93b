"""Calls: the events that coroutines publish through the group commit, and their outcomes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from django_sse.exceptions import LogUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from django_sse.log.base import Entry, Outcome

# Keeps transactions short: a transaction locks its channels for all other processes until its end.
MAX_EVENTS = 500
MAX_CHANNELS = 250
# Far below the largest statement that a database accepts (MySQL 5.7: 4 MiB).
MAX_CHARACTERS = 1 << 20


class Call(NamedTuple):
    """The events of one caller, and the future on which it waits for their outcome."""

    entries: Sequence[Entry]
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Outcome]


class Size:
    """The size of a transaction, to which calls are added until it is full."""

    def __init__(self) -> None:
        self._channels: set[str] = set()
        self._events = self._characters = 0

    def fits(self, call: Call) -> bool:
        """Add ``call`` and return whether it fits. The first one always fits."""
        first = not self._events
        self._channels.update(entry.channel for entry in call.entries)
        self._events += len(call.entries)
        self._characters += sum(len(entry.data) for entry in call.entries)
        return first or not (
            self._events > MAX_EVENTS
            or self._characters > MAX_CHARACTERS
            or len(self._channels) > MAX_CHANNELS
        )


def told_later(told: Iterable[tuple[Call, Outcome]]) -> None:
    """Tell callers the outcomes of their calls, from any thread."""
    # One wake-up for each loop, not for each caller: waking a loop costs more than one more item.
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Call, Outcome]]] = {}
    for each in told:
        by_loop.setdefault(each[0].loop, []).append(each)
    for loop, its in by_loop.items():
        # The loop may have closed meanwhile; then no caller waits on it.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_outcomes, its)


def _set_outcomes(told: Sequence[tuple[Call, Outcome]]) -> None:
    for call, outcome in told:
        if not call.outcome.done():
            # Errors are set as results, too: asyncio would log an exception that a cancelled caller
            # never retrieves.
            call.outcome.set_result(outcome)


def outcome_of(error: BaseException) -> Exception:
    """Return the outcome of calls whose transaction ended with ``error``."""
    return error if isinstance(error, Exception) else RuntimeError(f"not published: {error!r}")


def without_thread(error: Exception) -> LogUnavailable:
    """Return the outcome of calls for which no thread could be started."""
    return LogUnavailable(f"The thread that writes to the log could not be started: {error}")
