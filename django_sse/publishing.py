"""Publishing: from any thread, any process, inside a transaction or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_sse import group_commit
from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import ChannelFinished, InvalidCursor, PublishNotAllowed
from django_sse.hub.orphans import catch_up
from django_sse.hub.registry import announce, look_again
from django_sse.log import get_log
from django_sse.log.base import Kind, State, ids_of
from django_sse.log.entries import as_event, entry_of, make_entry, validate_channel
from django_sse.process import database
from django_sse.process.request_thread import under_async_to_sync
from django_sse.process.testcase import in_users_test
from django_sse.streams.ends import ABORTED, COMPLETE, FAILED
from django_sse.wire.cursor import MAX_CHANNELS, Cursor
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import ParamSpec, TypeVar

    from django_sse.log.base import Entry

    P = ParamSpec("P")
    T = TypeVar("T")

_ENDS = {ending.state: ending.events(PLAIN) for ending in (COMPLETE, FAILED, ABORTED)}


def _refuse_event_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise PublishNotAllowed(
        f"{name}() would block the event loop it is called on. Write: await a{name}(...)."
    )


def _publish(entries: list[Entry]) -> list[str] | None:
    log = get_log()
    if log.in_transaction():
        log.defer(entries, announce)
        return None
    try:
        appended = log.append(entries)
    except ChannelFinished:
        # The end may be one that still waited in the outbox, and the append that met it has
        # undone its sequencing: whoever is told of the end must find it in the log.
        announce(log.sequence({entry.channel for entry in entries}))
        raise
    announce(appended)
    return ids_of(entries, appended)


def publish(channel: str, data: Any, event: str | None = None) -> str | None:
    """Append an event to ``channel`` and wake everyone who streams it.

    ``data`` is a ``str``, or anything the JSON encoder takes, or an ``Event``. Returns the event's
    id. Inside ``transaction.atomic()`` on the log's database the event shares the transaction's
    fate: it is sequenced after the commit, and None is returned.

    Raises ``InvalidChannel``, ``InvalidEvent``, ``DataNotSerializable``, ``EventTooLarge``,
    ``ChannelFinished``, ``PublishNotAllowed`` (on a thread with a running event loop: use
    ``apublish``) and ``LogUnavailable``.
    """
    _refuse_event_loop("publish")
    ids = _publish([make_entry(channel, as_event(data, event))])
    return ids[0] if ids else None


def publish_many(events: Iterable[tuple[str, Any]]) -> list[str] | None:
    """Append several events, of one or several channels, in one transaction: all or none.

    ``events`` are pairs of a channel and what ``publish`` takes as data. Returns their ids in the
    order given, or None inside a transaction. Raises what ``publish`` does.
    """
    _refuse_event_loop("publish_many")
    entries = [make_entry(channel, as_event(data)) for channel, data in events]
    return _publish(entries) if entries else []


def _terminal(channel: str, state: str, event: Event | None) -> Entry:
    if state not in (State.DONE, State.ERROR, State.ABORTED):
        raise ValueError(f"A channel finishes as 'done', 'error' or 'aborted', not {state!r}.")
    events = [event] if event else _ENDS[State(state)]
    (entry,) = last_entries(validate_channel(channel), State(state), events)
    return entry


def last_entries(channel: str, state: State, events: Sequence[Event]) -> list[Entry]:
    """The entries that end ``channel``, which was validated or is the library's own: of the last
    event the one that is terminal."""
    *before, last = events
    terminal = entry_of(channel, last, Kind.TERMINAL, state.value)
    return [*(entry_of(channel, event) for event in before), terminal]


def end(channel: str, state: State, events: Sequence[Event]) -> bool:
    """``finish`` with several events, outside of any transaction: all of them or, False, none.

    Takes what ``last_entries`` does: it ends runs, too.
    """
    try:
        _publish(last_entries(channel, state, events))
    except ChannelFinished:
        return False
    return True


def finish(channel: str, state: str = State.DONE, event: Event | None = None) -> bool | None:
    """End ``channel`` for good with its one terminal event.

    ``state`` is ``"done"``, ``"error"`` or ``"aborted"``; ``event`` what clients get, by default
    ``close`` with ``[DONE]``, or for the other states ``error``, so that a stream that was not
    completed never looks complete. Returns True, or False when the channel
    has a terminal state already (the first wins); inside a transaction that can see none it is
    None: the commit decides.
    Clients of the channel get the event and then the end of the stream; those that come back after
    it are answered with 204. Raises what ``publish`` does, and ``ValueError`` for another state.
    """
    _refuse_event_loop("finish")
    entry = _terminal(channel, state, event)
    log = get_log()
    if log.in_transaction():
        try:
            log.defer([entry], announce)
        except ChannelFinished:
            return False
        return None
    appended = log.finish(entry)
    # As in _publish: the end that won may still wait in the outbox.
    announce(appended or log.sequence([channel]))
    return bool(appended)


async def _on_callers_thread() -> bool:
    """Whether a sync caller waits inside a transaction that a publish may have to share: under
    ``async_to_sync``, or in a user's ``TestCase``."""
    return under_async_to_sync() or await in_users_test()


async def _call(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call`` where it may use the database: on the caller's thread inside ``async_to_sync``,
    whose transaction it may have to share, else in a thread of the library's."""
    if under_async_to_sync():
        return await sync_to_async(call)(*args, **kwargs)
    return await database.write(call, *args, **kwargs)


async def append(entries: list[Entry]) -> list[str] | None:
    """Append ``entries``, all or none, with what other coroutines publish; see ``apublish``."""
    if await _on_callers_thread():
        return await sync_to_async(_publish)(entries)
    return await group_commit.append(entries)


async def apublish(channel: str, data: Any, event: str | None = None) -> str | None:
    """``publish`` for coroutines: what many of them publish at once shares a commit.

    Cancelled, it may or may not have published.
    """
    ids = await append([make_entry(channel, as_event(data, event))])
    return ids[0] if ids else None


async def apublish_many(events: Iterable[tuple[str, Any]]) -> list[str] | None:
    """``publish_many`` for coroutines; see ``apublish``."""
    entries = [make_entry(channel, as_event(data)) for channel, data in events]
    return await append(entries) if entries else []


async def afinish(channel: str, state: str = State.DONE, event: Event | None = None) -> bool | None:
    """``finish`` for coroutines; see ``apublish``."""
    if await _on_callers_thread():
        return await sync_to_async(finish)(channel, state, event)
    try:
        await group_commit.append([_terminal(channel, state, event)])
    except ChannelFinished:
        return False
    return True


def cursor(*channels: str) -> str:
    """The current position of ``channels``, to render into a page that will stream them.

    Take it *before* reading the page's state: what then comes twice is recognized by its key, and
    nothing is missed. The page's stream begins there with ``?last_event_id=<cursor>``.

    Raises ``InvalidChannel``, ``InvalidCursor`` (no channel, one named twice, more than 32) and
    ``LogUnavailable``.
    """
    names = [validate_channel(channel) for channel in channels]
    if not 1 <= len(set(names)) == len(names) <= MAX_CHANNELS:
        raise InvalidCursor(f"A cursor is of 1 to {MAX_CHANNELS} different channels.")
    catch_up(names)
    return str(Cursor(tuple((head.epoch, head.head) for head in get_log().open(names))))


async def acursor(*channels: str) -> str:
    """``cursor`` for coroutines."""
    return await _call(cursor, *channels)


def redact(channel: str, seq: int) -> bool:
    """Empty the event ``seq`` of ``channel`` for good, in the log and in every process's memory.

    For privacy requests. Readers skip what is left. False when there is no such event, or it is the
    terminal one. Raises ``LogUnavailable``, and ``PublishNotAllowed`` inside a transaction, where
    it would lock the channel to the transaction's end and processes would look too early.
    """
    _refuse_event_loop("redact")
    validate_channel(channel)
    log = get_log()
    if log.in_transaction():
        raise PublishNotAllowed(
            "redact() inside a transaction. Call it after the commit: "
            "transaction.on_commit(lambda: redact(channel, seq))."
        )
    done = log.redact(channel, seq)
    if done:
        look_again([channel])
    return done


async def aredact(channel: str, seq: int) -> bool:
    """``redact`` for coroutines."""
    return await _call(redact, channel, seq)
