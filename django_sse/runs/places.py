"""The places for runs in this process: ``RUNS_PER_PROCESS`` of them."""

from __future__ import annotations

import threading

from django_sse import conf
from django_sse.exceptions import Overloaded
from django_sse.process.lifecycle import Order, in_forked_child

_lock = threading.Lock()
_taken = 0


def take() -> None:
    """Take a place for a run on any of this process's loops. Raises ``Overloaded``.

    A run keeps its place until its generator has stopped, because the generator has a thread or a
    task until then.
    """
    global _taken  # noqa: PLW0603 - one a process
    most = conf.current().LIMITS.RUNS_PER_PROCESS
    with _lock:
        if _taken >= most:
            raise Overloaded(
                f"This process has {_taken} runs, as many as RUNS_PER_PROCESS allows. Raise it, or "
                "start more processes. A run that has ended counts until its generator has "
                "stopped: give the calls of generators a time-out."
            )
        _taken += 1


def give_back() -> None:
    """Give a place back."""
    global _taken  # noqa: PLW0603
    with _lock:
        _taken -= 1


@in_forked_child(Order.RUN_PLACES)
def _forget_after_fork() -> None:
    # The runs belong to the parent, one of whose threads may have held the lock.
    global _lock, _taken  # noqa: PLW0603
    _lock = threading.Lock()
    _taken = 0
