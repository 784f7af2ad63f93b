"""The hooks of this package at a fork and at the exit of its process, in one order.

``os.register_at_fork`` and ``multiprocessing.util.Finalize`` are called here and nowhere else. Each
service registers its hooks with its place in ``Order``.
"""

from __future__ import annotations

import logging
import os
from enum import IntEnum, auto
from multiprocessing import util
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    Hook = Callable[[], object]

HookT = TypeVar("HookT", bound="Callable[[], object]")

logger = logging.getLogger("django_sse")


class Order(IntEnum):
    """The services that have hooks, each above those that it uses.

    Before a fork and at exit the hooks run from the last to the first, in a forked child from the
    first to the last: a service may use those above it in this list.
    """

    BACKGROUND_LOOP = auto()
    DATABASE_THREADS = auto()
    STREAM_SLOTS = auto()
    NOTIFIER = auto()
    # At exit after the generators: what their ``finally`` publishes is told to other processes.
    SENDERS = auto()
    # At exit after the streams: a thread ends only when its generator is closed.
    GENERATOR_THREADS = auto()
    # The pulse, the hub and the keeper of runs of each loop.
    LOOPS = auto()
    GROUP_COMMIT = auto()
    RUN_PACE = auto()
    RUN_PLACES = auto()
    STREAMS = auto()


_before_fork: dict[Order, Hook] = {}
_in_child: dict[Order, Hook] = {}
_at_exit: dict[Order, Hook] = {}


def before_fork(order: Order) -> Callable[[HookT], HookT]:
    """Call the decorated function before this process forks."""
    return _adder(_before_fork, order)


def in_forked_child(order: Order) -> Callable[[HookT], HookT]:
    """Call the decorated function in a child that was forked.

    The child has its parent's objects and none of its threads, so nothing may wait for one, nor
    take a lock that one of them may have held.
    """
    return _adder(_in_child, order)


def at_exit(order: Order) -> Callable[[HookT], HookT]:
    """Call the decorated function when this process exits, also if it is a child of
    ``multiprocessing``; not when it is killed."""
    return _adder(_at_exit, order)


def _adder(hooks: dict[Order, Hook], order: Order) -> Callable[[HookT], HookT]:
    def add(hook: HookT) -> HookT:
        # One each: two would be in an order that nobody sees.
        if order in hooks:
            raise ValueError(f"{order.name} has a hook already: {hooks[order]!r}.")
        hooks[order] = hook
        return hook

    return add


def _run_exit_hooks() -> None:
    """Run what ``at_exit`` has registered."""
    _run(_at_exit, reverse=True)


def _run(hooks: dict[Order, Hook], *, reverse: bool) -> None:
    for _, hook in sorted(hooks.items(), reverse=reverse):
        try:
            hook()
        except Exception:
            # A fork and an exit have no caller to raise to, and the other hooks must still run.
            logger.exception("A hook of %s failed.", hook.__module__)


class _Exit:
    """The exit hooks' registration with ``multiprocessing``, in this process and in each it forks.

    Not with ``atexit``: a child of ``multiprocessing`` does not run that.
    """

    def __init__(self) -> None:
        # A child of multiprocessing clears what was registered so far, and then calls this.
        util.register_after_fork(self, _Exit.register)
        self.register()

    def register(self) -> None:
        # A finalizer runs only in the process that made it.
        util.Finalize(None, _run_exit_hooks, exitpriority=0)


_exit = _Exit()


def _after_fork_in_child() -> None:
    _run(_in_child, reverse=False)
    _exit.register()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(
        before=lambda: _run(_before_fork, reverse=True), after_in_child=_after_fork_in_child
    )
