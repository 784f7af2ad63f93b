"""The producer of sync generators: each runs in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_sse import conf
from django_sse.exceptions import EventStreamError, Overloaded, TooManyStreams
from django_sse.process import threads
from django_sse.process.database import LiveCursors, has_pool
from django_sse.process.lifecycle import Order, at_exit, in_forked_child
from django_sse.process.request_thread import Surroundings
from django_sse.streams.sink import UNREPORTED
from django_sse.streams.sources import END, GENERATOR, cancelled_inside, close, throw
from django_sse.trust.limits import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django_sse.streams.sink import Sink

logger = logging.getLogger("django_sse")

# Seconds that an exiting process waits for generators in threads whose streams are closed.
_GRACE = 2.0
# Seconds between two looks of a waiting thread at whether its stream is still read.
_LOOK = 15.0

_running_lock = threading.Lock()
_running: set[ThreadProducer] = set()


class ThreadProducer:
    """A producer that iterates a sync iterable in a thread of its own.

    A process has at most ``SYNC_GENERATORS`` of them, and one owner a share of these.

    Raises ``Overloaded`` or ``TooManyStreams`` at these limits, and ``Overloaded`` when the system
    refuses a thread.
    """

    own_thread = True
    """Whether the generator's queries run in a thread that nobody waits for, as in no test."""

    def __init__(self, sink: Sink, source: Iterable[Any]) -> None:
        self._sink = sink
        self._source = source
        self._changed = threading.Condition()
        self._finished: concurrent.futures.Future[None] = concurrent.futures.Future()
        # Its own copy of the context: see TaskProducer.
        run, args = contextvars.copy_context().run, (self._run, Surroundings.here())
        self._take_place()
        try:
            threads.start(run, *args, name=GENERATOR)
        except Exception as error:
            _running.discard(self)
            raise Overloaded(
                "The system refused a thread for a sync generator. Write it with async def, which "
                "needs no thread."
            ) from error

    def _take_place(self) -> None:
        most = conf.current().LIMITS.SYNC_GENERATORS
        owner = self._sink.owner
        with _running_lock:
            if len(_running) >= most:
                raise Overloaded(
                    f"{len(_running)} sync generators are streaming, each in a thread, and "
                    f"SYNC_GENERATORS allows {most}. Raise it, or write them with async def."
                )
            own = sum(each._sink.owner == owner for each in _running)
            if owner is not None and own >= share(most):
                raise TooManyStreams(
                    f"{own} sync generators of this owner are streaming, which is its share of "
                    f"the {most} that SYNC_GENERATORS allows."
                )
            _running.add(self)

    def resume(self) -> None:
        """Go on: the sink has room again."""
        with self._changed:
            self._changed.notify()

    def stop(self) -> None:
        """Close the generator at its ``yield``.

        A thread cannot be interrupted: a generator that blocks in a call is closed after it.
        """
        self.resume()

    @property
    def has_stopped(self) -> bool:
        """Whether the generator's ``finally`` has run, so that its thread ends."""
        return self._finished.done()

    def when_stopped(self, call: Callable[[], object]) -> None:
        """Call ``call`` as soon as it ``has_stopped``, in any thread."""
        self._finished.add_done_callback(lambda _: call())

    async def stopped(self) -> None:
        """Wait until ``has_stopped``."""
        await self.ended(None)

    async def ended(self, timeout: float | None) -> None:
        """Wait, ``timeout`` seconds at most, until the generator's ``finally`` has run."""
        await asyncio.wait({asyncio.wrap_future(self._finished)}, timeout=timeout)

    def join(self, timeout: float) -> None:
        """``ended`` for a thread. Returns at once when the sink is still open."""
        if self._sink.closed:
            concurrent.futures.wait({self._finished}, timeout)

    def _run(self, surroundings: Surroundings) -> None:
        try:
            surroundings.enter()
            self._iterate()
            self._sink.complete()
        except asyncio.CancelledError as cancelled:
            # Nobody cancels a thread. Raised to the view, it would cancel the request's task, and
            # some servers then never answer.
            self._failed(cancelled_inside(cancelled))
        except BaseException as error:
            # Also SystemExit: it ends no process from a thread, and the client would wait for ever.
            self._failed(error)
        finally:
            try:
                connections.close_all()
            except Exception:
                # Some drivers raise when a connection is closed twice.
                logger.exception("The connections of a sync generator could not be closed.")
            _running.discard(self)
            self._finished.set_result(None)

    def _failed(self, error: BaseException) -> None:
        try:
            if self._sink.fail(error):
                self._sink.report(error)
        except Exception:
            logger.exception(UNREPORTED)
        finally:
            self._sink.complete(error)

    def _iterate(self) -> None:
        iterator: Any = None
        live = LiveCursors() if has_pool() else None
        try:
            with live.watching() if live is not None else nullcontext():
                iterator = iter(self._source)
                for item in iterator:
                    self._put(iterator, item)
                    if live is not None:
                        live.give_back()
                    self._wait_for_room()
                    if self._sink.closed:
                        return
        finally:
            close(iterator, self._source)

    def _wait_for_room(self) -> None:
        with self._changed:
            while self._sink.full and not self._sink.closed:
                self._changed.wait(_LOOK)

    def _put(self, iterator: Iterator[Any], item: Any) -> None:
        try:
            self._sink.put(item)
        except EventStreamError as error:
            if (instead := throw(iterator, error)) is not END:
                self._put(iterator, instead)


@at_exit(Order.GENERATOR_THREADS)
def _wait_for_threads() -> None:
    # The threads are daemons, so a generator that blocks for ever does not keep the process.
    until = time.monotonic() + _GRACE
    for producer in list(_running):
        producer.join(max(0.0, until - time.monotonic()))


@in_forked_child(Order.GENERATOR_THREADS)
def _forget_after_fork() -> None:
    # The threads are the parent's.
    global _running_lock  # noqa: PLW0603
    _running_lock = threading.Lock()
    _running.clear()
