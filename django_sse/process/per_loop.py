"""One object for each event loop of the process."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django_sse.process.lifecycle import Order, in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerLoop(Generic[T]):
    """An object for each loop: made when it is first asked for, forgotten after the loop closes.

    ``make`` is called with the running loop.
    """

    def __init__(self, make: Callable[[asyncio.AbstractEventLoop], T]) -> None:
        self._make = make
        self.forget()
        _all.append(self)

    def forget(self) -> None:
        """Forget the objects of all loops."""
        # Reentrant: a signal handler reads this in the middle of whatever the main thread does.
        self._lock = threading.RLock()
        self._objects: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = (
            weakref.WeakKeyDictionary()
        )

    def get(self) -> T:
        """Return the running loop's object. Raises ``RuntimeError`` where no loop runs."""
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._objects.get(loop)
            if found is None:
                # An object usually knows its loop, so the weak keys alone would keep both alive.
                for other in [each for each in self._objects if each.is_closed()]:
                    del self._objects[other]
                found = self._objects[loop] = self._make(loop)
            return found

    def all(self) -> list[T]:
        """Return the objects of the open loops, from any thread."""
        with self._lock:
            return [each for loop, each in self._objects.items() if not loop.is_closed()]

    def running(self) -> dict[asyncio.AbstractEventLoop, T]:
        """Return the loops that run now, with their objects, from any thread."""
        with self._lock:
            return {loop: each for loop, each in self._objects.items() if loop.is_running()}


_all: list[PerLoop[Any]] = []


@in_forked_child(Order.LOOPS)
def _forget_after_fork() -> None:
    # A child has its parent's objects, but none of their loops runs in it.
    for each in _all:
        each.forget()
