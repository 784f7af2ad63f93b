"""Starting a run from a generator, and finding a run by a client's position."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from django_sse import conf
from django_sse.exceptions import LogUnavailable, Overloaded, TooManyRuns
from django_sse.hub.registry import get_hub
from django_sse.process import database
from django_sse.runs import places, store
from django_sse.runs.keeper import get_keeper
from django_sse.runs.task import RunTask
from django_sse.streams.pulse import is_draining
from django_sse.wire.cursor import Cursor
from django_sse.wire.errors import InvalidCursor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from django_sse.dialects import AnswerEncoder
    from django_sse.models import Run
    from django_sse.streams.sources import Source

logger = logging.getLogger("django_sse")

# A client may stop one answer and ask for another at once. So a start waits this many seconds for
# a generator that is being cancelled, and looks this often whether it has stopped.
_STOPPING = 1.0
_LOOK = 0.1


# Strong references: when the client leaves, nothing else holds these tasks.
_launching: set[asyncio.Task[RunTask]] = set()


async def start(
    source: Source,
    encoder: AnswerEncoder,
    *,
    owner: str,
    dialect: str,
    while_connected: bool,
    on_error: Callable[[BaseException], None],
) -> RunTask:
    """Run ``source`` on this loop, and wait at most ``OPEN_TIMEOUT`` seconds for its first item.

    Raises any error that the source raises before its first item; the run is discarded then. Also
    raises ``TooManyRuns``, ``Overloaded`` and ``LogUnavailable``. If this call is cancelled, the
    run still begins, and ``on_error`` is called with the error that would have been raised.
    """
    if is_draining():
        raise Overloaded("The server is stopping and starts no more runs. Try again shortly.")
    creating = partial(_create, owner, dialect, while_connected)
    launching = asyncio.get_running_loop().create_task(_launch(source, encoder, creating, on_error))
    _launching.add(launching)
    launching.add_done_callback(_launching.discard)
    try:
        return await asyncio.shield(launching)
    except asyncio.CancelledError:
        launching.add_done_callback(partial(_report, on_error))
        raise


async def _launch(
    source: Source,
    encoder: AnswerEncoder,
    creating: Callable[[UUID], Awaitable[Run]],
    on_error: Callable[[BaseException], None],
) -> RunTask:
    places.take()
    with ExitStack() as place:
        place.callback(places.give_back)
        async with get_keeper().beginning() as lease:
            task = await _begin(source, encoder, await creating(lease), on_error, place)
        task.when_over(place.pop_all().close)
    return task


async def _create(owner: str, dialect: str, while_connected: bool, lease: UUID) -> Run:
    create = partial(store.create, owner, dialect=dialect, while_connected=while_connected)
    until = asyncio.get_running_loop().time() + _STOPPING
    while True:
        try:
            return await database.write(create, lease=lease)
        except TooManyRuns:
            # The process of some of the owner's runs may have died.
            get_keeper().stay()
            late = asyncio.get_running_loop().time() >= until
            if late or not await database.run(store.stopping, owner):
                raise
        await asyncio.sleep(_LOOK)


async def _begin(
    source: Source,
    encoder: AnswerEncoder,
    run: Run,
    on_error: Callable[[BaseException], None],
    place: ExitStack,
) -> RunTask:
    task = RunTask(run, encoder, on_error=on_error)
    keeper = get_keeper()
    try:
        await task.start(source, keeper.remove)
        keeper.add(task)
        await task.first.wait(conf.current().STREAMS.OPEN_TIMEOUT)
        task.first.send_headers()
    except Exception:
        await task.ended()
        if task.has_stopped:
            keeper.remove(task)
            get_hub().forget(run.channel)
            await _discard(run)
        else:
            # A call of the generator still runs in a thread. Nothing waits for it here, but the run
            # counts for the process and the owner until then. So its row stays.
            task.when_over(place.pop_all().close)
        raise
    return task


async def _discard(run: Run) -> None:
    try:
        await database.write(store.discard, [run])
    except LogUnavailable as error:
        # A keeper ends it later, as a run that no task runs. The caller gets the source's error.
        logger.warning("The run %s did not begin, but its row remains: %s", run.pk, error)


def _report(on_error: Callable[[BaseException], None], launched: asyncio.Task[RunTask]) -> None:
    if not launched.cancelled() and (error := launched.exception()):
        database.run_later(partial(on_error, error))


def find_by_position(last_event_id: str) -> Run | None:
    """Return the run that sent this event id, or None. Raises ``LogUnavailable``."""
    try:
        cursor = Cursor.parse(last_event_id)
    except InvalidCursor:
        return None
    return store.find_by_epoch(cursor.positions[0].epoch) if len(cursor.positions) == 1 else None
