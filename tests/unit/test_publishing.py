from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connection, connections, transaction
from django.dispatch import Signal
from django.test import AsyncClient, TestCase

from django_sse import (
    Event,
    acursor,
    afinish,
    apublish,
    apublish_many,
    aredact,
    cursor,
    finish,
    publish,
    publish_many,
    redact,
)
from django_sse.exceptions import (
    ChannelFinished,
    DataNotSerializable,
    EventTooLarge,
    InvalidChannel,
    InvalidCursor,
    InvalidEvent,
    InvalidKey,
    LogUnavailable,
    PublishNotAllowed,
)
from django_sse.hub import registry
from django_sse.hub.channel_stream import ChannelStream
from django_sse.internal_channels import internal_channel
from django_sse.log import get_log
from django_sse.log.attempts import Attempt
from django_sse.log.base import Entry, Kind, State
from django_sse.log.entries import make_entry
from django_sse.models import Channel, OutboxEvent, Run, StoredEvent
from django_sse.notifiers import get_notifier
from django_sse.publishing import _publish, append, last_entries
from django_sse.testing import apublished, published
from django_sse.wire.cursor import Cursor
from django_sse.wire.decoder import Decoder, MessageEvent
from tests.appending import append_to
from tests.positions import id_of, seq_of
from tests.unit.log.conftest import database, other
from tests.unit.log.support import (
    assert_dense,
    dropped,
    elsewhere,
    everything,
    hooks_lost,
    in_threads,
    publish_and_die,
    rolled_back,
    run_python,
    texts,
)

__all__ = ["database", "other"]

pytestmark = pytest.mark.django_db(transaction=True)

TIMEOUT = 60
CALL_NAMES = ("publish", "publish_many", "finish")
CALLS: tuple[Callable[[], object], ...] = (
    lambda: publish("c", "x"),
    lambda: publish_many([("c", "x")]),
    lambda: finish("c"),
)


def stored(channel: str = "c") -> list[str]:
    return texts(get_log(), channel)


async def astored(channel: str = "c") -> list[str]:
    return await asyncio.to_thread(elsewhere, partial(stored, channel))


class Reader:
    """A client of a subscription; skips heartbeats."""

    def __init__(self, *channels: str, since: str = "now") -> None:
        self.stream = ChannelStream(*channels, since=since)
        self._decoder, self._events = Decoder(), list[MessageEvent]()

    async def __aenter__(self) -> Reader:
        assert (await self.next()).type == "stream-open"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stream.aclose()

    async def next(self) -> MessageEvent:
        async with asyncio.timeout(TIMEOUT):
            while not self._events:
                self._events += self._decoder.feed(await anext(self.stream))
        return self._events.pop(0)


# -- outside a transaction


def test_publish_returns_the_id_that_clients_see() -> None:
    first = publish("c", "1")
    assert first == id_of("c", 1)
    assert publish("c", {"n": 2}, event="type") == id_of("c", 2)
    assert publish("c", Event("3", event="type")) == id_of("c", 3)
    records = everything(get_log(), "c")
    assert [(each.type, each.data) for each in records] == [
        ("", "1"),
        ("type", '{"n":2}'),
        ("type", "3"),
    ]


def test_publish_many_returns_ids_in_the_order_given() -> None:
    publish("b", "first")
    ids = publish_many([("a", "1"), ("b", "2"), ("c", "3"), ("b", "4"), ("a", "5"), ("a", "6")])
    assert ids == [id_of(*each) for each in zip("abcbaa", (1, 2, 1, 3, 2, 3), strict=True)]


def test_ids_are_right_with_deferred_events_in_front() -> None:
    with hooks_lost():
        publish_many([("a", "x"), ("b", "x"), ("a", "y"), ("d", "other")])
    ids = publish_many([("b", "2"), ("a", "1"), ("c", "3"), ("a", "4")])
    assert ids == [id_of(*each) for each in zip("baca", (2, 3, 1, 4), strict=True)]
    assert stored("a") == ["x", "y", "1", "4"]
    assert stored("d") == []
    assert publish("d", "z") == id_of("d", 2)


def test_publish_many_takes_any_iterable_and_nothing_for_nothing() -> None:
    assert len(publish_many((name, name) for name in "abc") or []) == 3
    assert publish_many([]) == []
    assert publish_many(iter(())) == []


@pytest.mark.parametrize("event", [("a", "1", "type"), "ab", ("a",), {"a": 1, "b": 2}])
@pytest.mark.parametrize("keys", [None, ["key"]])
def test_publish_many_says_what_a_pair_is(event: Any, keys: list[str] | None) -> None:
    with pytest.raises(TypeError, match="pairs of a channel and the data"):
        publish_many([event], keys=keys)


def test_redact_says_which_number_it_takes() -> None:
    with pytest.raises(TypeError, match="the number in the event's id"):
        redact("c", publish("c", "x"))  # type: ignore[arg-type]


def test_publish_many_is_all_or_none() -> None:
    finish("z")
    for bad in [("z", "x"), ("", "x"), ("c", object())]:
        with pytest.raises((ChannelFinished, InvalidChannel, DataNotSerializable)):
            publish_many([("c", "never"), bad, ("c", "never")])
    assert stored() == []


def test_publishers_in_many_threads_each_get_their_own_ids() -> None:
    def write(name: int) -> list[tuple[str, str]]:
        pairs = [(f"{name}:{number}", publish("c", f"{name}:{number}")) for number in range(10)]
        return [(text, id) for text, id in pairs if id]

    told = [pair for pairs in in_threads(*[partial(write, n) for n in range(6)]) for pair in pairs]
    found = {each.data: id_of("c", each.seq) for each in everything(get_log(), "c")}
    assert dict(told) == found
    assert_dense(everything(get_log(), "c"))
    assert len(found) == 60


# -- bad input

BAD = [
    ("", "x", None, InvalidChannel),
    ("x" * 201, "x", None, InvalidChannel),
    ("a\nb", "x", None, InvalidChannel),
    ("a\0b", "x", None, InvalidChannel),
    ("\ud800", "x", None, InvalidChannel),
    (7, "x", None, InvalidChannel),
    (internal_channel("run", 7), "x", None, InvalidChannel),
    ("c", "x", "a\nb", InvalidEvent),
    ("c", "x", "a\rb", InvalidEvent),
    ("c", "x", "a\0b", InvalidEvent),
    ("c", "x", "", InvalidEvent),
    ("c", "x", "t" * 201, InvalidEvent),
    ("c", Event("x", id="7"), None, InvalidEvent),
    ("c", Event("x", retry=7), None, InvalidEvent),
    ("c", Event("x"), "type", InvalidEvent),
    ("c", object(), None, DataNotSerializable),
    ("c", {"a": {1}}, None, DataNotSerializable),
    ("c", ["\ud800"], None, DataNotSerializable),
    ("c", "\ud800", None, InvalidEvent),
    ("c", "a\0b", None, InvalidEvent),
    ("c", b"x", None, InvalidEvent),
    ("c", "x" * 300_000, None, EventTooLarge),
]


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize(("channel", "data", "type", "error"), BAD)
def test_bad_input_is_named_at_the_publisher_and_writes_nothing(
    channel: Any, data: object, type: str | None, error: type[Exception], inside: bool
) -> None:
    if inside:
        with transaction.atomic():
            with pytest.raises(error):
                publish(channel, data, type)
            # The caller's transaction is as good as it was.
            publish("c", "good")
    else:
        with pytest.raises(error):
            publish(channel, data, type)
        publish("c", "good")
    assert stored() == ["good"]
    assert list(get_log().channels()) == ["c"]
    assert not OutboxEvent.objects.exists()


RUN = Run(pk=UUID(int=7)).channel


@pytest.mark.parametrize(
    "call",
    [
        lambda: publish_many([("c", "x"), (RUN, "x")]),
        lambda: finish(RUN),
        lambda: finish(RUN, "error", Event("forged")),
        lambda: redact(RUN, 1),
    ],
    ids=["publish_many", "finish", "finish with an event", "redact"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_nobody_writes_into_the_channel_of_a_run(call: Callable[[], object], inside: bool) -> None:
    append_to(get_log(), [Entry(RUN, "", "said")])
    with transaction.atomic() if inside else nullcontext(), pytest.raises(InvalidChannel):
        call()
    assert published(RUN) == [("message", "said")]
    assert list(get_log().channels()) == [RUN]
    assert not OutboxEvent.objects.exists()


async def test_no_coroutine_does_either() -> None:
    await sync_to_async(append_to)(get_log(), [Entry(RUN, "", "said")])
    for refused in (
        apublish(RUN, "forged"),
        apublish_many([("c", "x"), (RUN, "forged")]),
        afinish(RUN),
        aredact(RUN, 1),
        acursor(RUN),
    ):
        with pytest.raises(InvalidChannel):
            await refused
    assert await apublished(RUN) == [("message", "said")]


async def test_a_coroutine_gets_the_same_errors() -> None:
    with pytest.raises(InvalidChannel):
        await apublish("", "x")
    with pytest.raises(DataNotSerializable):
        await apublish_many([("c", "never"), ("c", object())])
    with pytest.raises(ValueError, match="'finished'"):
        await afinish("c", "finished")
    assert await astored() == []


# -- inside a transaction


def test_inside_a_transaction_there_is_no_id_yet() -> None:
    with transaction.atomic():
        assert publish("c", "1") is None
        assert publish_many([("c", "2"), ("d", "3")]) is None
        assert finish("d") is None
        assert elsewhere(stored) == []
    assert stored() == ["1", "2"]
    assert stored("d") == ["3", "[DONE]"]


def test_what_is_rolled_back_is_seen_by_nobody() -> None:
    with rolled_back():
        publish("c", "never")
        finish("d")
    publish("c", "1")
    publish("d", "1")
    assert stored() == ["1"]
    assert stored("d") == ["1"]


async def test_a_client_sees_an_event_after_the_commit_and_never_before() -> None:
    written, go_on = threading.Event(), threading.Event()

    def pay() -> None:
        with transaction.atomic():
            publish("c", "paid")
            # A page that is rendered in the same transaction.
            cursor("c")
            ChannelStream("c").settle()
            written.set()
            assert go_on.wait(TIMEOUT)

    async with Reader("c") as reader:
        paying = asyncio.create_task(asyncio.to_thread(elsewhere, pay))
        await asyncio.to_thread(written.wait, TIMEOUT)
        coming = asyncio.create_task(reader.next())
        done, _ = await asyncio.wait([coming], timeout=0.3)
        assert not done
        go_on.set()
        await paying
        assert (await coming).data == "paid"


async def test_a_client_never_sees_what_is_rolled_back() -> None:
    def fail() -> None:
        with rolled_back():
            publish("c", "never")
            cursor("c")

    async with Reader("c") as reader:
        await asyncio.to_thread(elsewhere, fail)
        await apublish("c", "1")
        event = await reader.next()
    assert event.data == "1"
    assert seq_of(event.last_event_id) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.parametrize("call", CALLS, ids=CALL_NAMES)
def test_inside_a_transaction_of_another_database_the_callers_line_is_warned_of(
    other: str, call: Callable[[], object]
) -> None:
    with rolled_back(other):
        with pytest.warns(RuntimeWarning, match=r"'other'.*'default'.*on_commit") as caught:
            call()
        assert [each.filename for each in caught] == [__file__]
        assert len(stored()) == 1
    assert len(stored()) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_the_fate_is_shared_with_the_logs_database(other: str, settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": other}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with transaction.atomic(), rolled_back(other):
            publish("c", "never")
        with transaction.atomic(), transaction.atomic(using=other):
            assert publish("c", "1") is None
    assert stored() == ["1"]
    assert not StoredEvent.objects.using("default").exists()


def unable(wakeups: object) -> None:
    raise OSError("no way to tell")


@pytest.mark.parametrize(
    ("call", "told"), zip(CALLS, (str, list, bool), strict=True), ids=CALL_NAMES
)
def test_who_published_is_told_so_though_other_processes_cannot_be(
    call: Callable[[], object],
    told: type,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(get_notifier(), "notify", unable)
    assert isinstance(call(), told)
    assert len(stored()) == 1
    assert "no way to tell" in caplog.text


@pytest.mark.parametrize("call", CALLS, ids=CALL_NAMES)
def test_with_autocommit_off_the_way_out_is_named(call: Callable[[], object]) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(PublishNotAllowed, match=r"transaction\.atomic\(\)"):
            call()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert stored() == []


def test_an_earlier_hook_that_raises_loses_no_event() -> None:
    with hooks_lost():
        publish("c", "1")
    assert stored() == []
    publish("c", "2")
    assert stored() == ["1", "2"]


# -- a process that died between commit and hook


@pytest.mark.parametrize(
    "call",
    [
        lambda: publish("c", "next"),
        lambda: publish_many([("d", "x"), ("c", "next")]),
        lambda: finish("c"),
        lambda: cursor("d", "c"),
        lambda: ChannelStream("c", "d").settle(),
        lambda: async_to_sync(acursor)("c"),
    ],
    ids=["publish", "publish_many", "finish", "cursor", "subscribe", "acursor"],
)
def test_what_a_killed_process_committed_is_sequenced_by(call: Callable[[], object]) -> None:
    publish_and_die("publish('c', 'committed'); publish('c', 'too')")
    assert get_log().orphans() == ["c"]
    call()
    assert stored()[:2] == ["committed", "too"]
    assert_dense(everything(get_log(), "c"))
    assert get_log().orphans() == []


def test_the_end_that_a_killed_process_committed_is_the_end() -> None:
    publish_and_die("publish('c', 'last'); finish('c', 'error')")
    with pytest.raises(ChannelFinished, match="error"):
        publish("c", "late")
    # Whoever learns of the end from an error must find it in the log.
    assert [each.kind for each in everything(get_log(), "c")] == [Kind.EVENT, Kind.TERMINAL]


def test_a_finish_that_loses_to_a_killed_process_leaves_the_winners_end() -> None:
    publish_and_die("finish('c', 'error')")
    assert finish("c", "done") is False
    assert [each.kind for each in everything(get_log(), "c")] == [Kind.TERMINAL]
    assert get_log().open(["c"])[0].state == "error"


async def test_the_safety_poll_of_any_process_finds_it(settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "NOTIFIER": "local", "SAFETY_INTERVAL": 0.2}
    async with Reader("a", "b") as reader:
        await asyncio.to_thread(publish_and_die, "publish('a', '1'); publish('nobody', '2')")
        assert (await reader.next()).data == "1"
    # Of all channels, not only of those that somebody reads here.
    assert await astored("nobody") == ["2"]


async def test_a_client_that_comes_back_gets_it(settings: Any) -> None:
    await asyncio.to_thread(publish_and_die, "publish('c', 'committed')")
    async with Reader("c", since="earliest") as reader:
        assert (await reader.next()).data == "committed"


def test_another_process_sees_what_was_published_at_once() -> None:
    publish("c", "1")
    code, output = run_python("print(publish('c', '2'))")
    assert (code, output) == (0, f"{id_of('c', 2)}\n")
    assert stored() == ["1", "2"]


# -- finish


@pytest.mark.parametrize("state", ["done", "error", "aborted"])
def test_finish_stores_the_one_terminal_event(state: str) -> None:
    publish("c", "1")
    assert finish("c", state, Event({"why": state}, event="finished")) is True
    record = everything(get_log(), "c")[-1]
    assert (record.seq, record.type, record.kind) == (2, "finished", Kind.TERMINAL)
    assert record.data == f'{{"why":"{state}"}}'
    assert get_log().open(["c"])[0].state == state


@pytest.mark.parametrize(
    ("state", "type", "data"),
    [
        ("done", "close", "[DONE]"),
        ("error", "error", '{"error":"The stream failed.","code":"error"}'),
        ("aborted", "error", '{"error":"The stream was aborted.","code":"aborted"}'),
    ],
)
def test_only_a_stream_that_was_completed_looks_complete(state: str, type: str, data: str) -> None:
    finish("c", state)
    (record,) = everything(get_log(), "c")
    assert (record.type, record.data, record.kind) == (type, data, Kind.TERMINAL)


@pytest.mark.parametrize("state", ["", "open", "DONE", "finished", None])
def test_an_unknown_state_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="'done', 'error' or 'aborted'"):
        finish("c", state)
    assert publish("c", "1")


@pytest.mark.parametrize("event", ["", "[DONE]", {"data": "x"}, 0])
def test_the_last_event_must_be_an_event(event: Any) -> None:
    with pytest.raises(TypeError, match="event must be an Event or None, not"):
        finish("c", event=event)
    assert publish("c", "1")


def test_a_finished_channel_takes_no_more() -> None:
    finish("c")
    for call in (publish, partial(publish, event="type")):
        with pytest.raises(ChannelFinished, match="'c'"):
            call("c", "late")
    with transaction.atomic(), pytest.raises(ChannelFinished):
        publish("c", "late")
    assert finish("c") is False
    assert stored() == ["[DONE]"]


def test_a_channel_that_finishes_in_this_transaction_takes_no_more() -> None:
    with transaction.atomic():
        assert finish("c", "error") is None
        with pytest.raises(ChannelFinished, match="'c'"):
            publish("c", "late")
        assert finish("c") is False
        publish("d", "1")
    assert len(stored()) == 1
    assert "failed" in stored()[0]
    assert stored("d") == ["1"]


def test_what_commits_after_the_end_is_dropped_logged_and_signalled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with hooks_lost():
        finish("c")
    late = OutboxEvent.objects.get()
    # From a transaction that began before the end was committed, and could not see it.
    late.pk, late.kind, late.state, late.data = None, Kind.EVENT, "", "late"
    late.save()
    with dropped() as heard:
        assert finish("c") is False
    assert stored() == ["[DONE]"]
    assert heard == [("c", 1)]
    assert "'c'" in caplog.text


# -- in coroutines


@pytest.mark.parametrize(
    ("call", "twin"),
    [
        (partial(publish, "c", "x"), "apublish"),
        (partial(publish_many, [("c", "x")]), "apublish_many"),
        (partial(publish_many, []), "apublish_many"),
        (partial(finish, "c"), "afinish"),
        (partial(redact, "c", 1), "aredact"),
    ],
    ids=["publish", "publish_many", "publish_many nothing", "finish", "redact"],
)
async def test_on_the_loops_thread_the_twin_is_named(call: Callable[[], object], twin: str) -> None:
    with pytest.raises(PublishNotAllowed, match=rf"await {twin}\("):
        call()
    assert await astored() == []


async def test_the_twins_do_the_same() -> None:
    id = await apublish("c", {"n": 1}, event="type")
    assert id is not None and seq_of(id) == 1
    ids = await apublish_many((name, "x") for name in "cd")
    assert [seq_of(each) for each in ids or []] == [2, 1]
    assert await aredact("c", 2) is True
    assert Cursor.parse(await acursor("c")).positions[0][1] == 2
    assert await afinish("c") is True
    assert await afinish("c") is False
    with pytest.raises(ChannelFinished):
        await apublish("c", "late")
    assert await astored() == ['{"n":1}', "", "[DONE]"]


async def test_many_coroutines_publish_at_once() -> None:
    ids = await asyncio.gather(*[apublish("c", str(number)) for number in range(40)])
    assert len(set(ids)) == 40
    records = await asyncio.to_thread(elsewhere, partial(everything, get_log(), "c"))
    assert_dense(records)
    assert {each.data for each in records} == {str(number) for number in range(40)}


async def test_an_async_view_publishes() -> None:
    response = await AsyncClient().post("/apublish/c/", data="hi", content_type="text/plain")
    assert seq_of(response.json()["id"]) == 1
    assert await astored() == ["hi"]


@pytest.mark.parametrize(
    "coroutine",
    [
        lambda: apublish("c", "x"),
        lambda: apublish_many([("c", "x")]),
        lambda: afinish("c"),
        lambda: asyncio.create_task(apublish("c", "x")),
    ],
    ids=["apublish", "apublish_many", "afinish", "a task"],
)
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "rollback"])
def test_under_async_to_sync_a_coroutine_shares_its_callers_transaction(
    coroutine: Callable[[], Any], commit: bool
) -> None:
    async def work() -> object:
        return await coroutine()

    with transaction.atomic() if commit else rolled_back():
        assert async_to_sync(work)() is None
        assert elsewhere(stored) == []
    assert len(stored()) == commit
    assert not OutboxEvent.objects.exists()


def test_an_async_receiver_shares_the_senders_transaction() -> None:
    saved = Signal()

    async def on_saved(**kwargs: Any) -> None:
        await apublish("c", "saved")

    saved.connect(on_saved)
    with rolled_back():
        saved.send(None)
    assert stored() == []
    with transaction.atomic():
        saved.send(None)
    assert stored() == ["saved"]


async def test_inside_sync_to_async_a_transaction_is_shared() -> None:
    def pay(block: AbstractContextManager[None]) -> None:
        with block:
            assert publish("c", "paid") is None

    await sync_to_async(pay)(rolled_back())
    assert await astored() == []
    await sync_to_async(pay)(transaction.atomic())
    assert await astored() == ["paid"]
    await sync_to_async(connections.close_all)()


# -- cursor


def test_a_cursor_is_the_position_of_its_channels_in_order() -> None:
    publish_many([("a", "1"), ("b", "1"), ("b", "2")])
    assert cursor("b", "a", "new") == f"{id_of('b', 2)}.{id_of('a', 1)}.{id_of('new', 0)}"


def test_a_cursor_continues_where_it_was_taken() -> None:
    publish("c", "before")
    since = cursor("c")
    publish("c", "after")

    async def read() -> str:
        async with Reader("c", since=since) as reader:
            return (await reader.next()).data

    assert asyncio.run(asyncio.wait_for(read(), TIMEOUT)) == "after"


def test_a_cursor_asks_nothing_of_the_callers_transaction() -> None:
    publish("old", "1")
    transaction.set_autocommit(False)
    try:
        assert cursor("old") == id_of("old", 1)
        assert seq_of(cursor("new")) == 0
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@pytest.mark.parametrize(
    ("channels", "error"),
    [
        ([], InvalidCursor),
        ([""], InvalidChannel),
        (["a\n"], InvalidChannel),
        (["a", internal_channel("run", 7)], InvalidChannel),
        (["a", "a"], InvalidCursor),
        ([str(number) for number in range(33)], InvalidCursor),
    ],
)
def test_a_cursor_that_cannot_be_is_refused(channels: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        cursor(*channels)
    assert not Channel.objects.exists()


# -- redact


def test_redact_empties_the_event_for_good() -> None:
    publish_many([("c", "secret"), ("c", "open")])
    assert redact("c", 1) is True
    assert stored() == ["", "open"]
    assert redact("c", 1) is False
    assert redact("c", 3) is False
    assert redact("nobody", 1) is False
    with pytest.raises(InvalidChannel):
        redact("", 1)


def test_the_terminal_event_cannot_be_redacted() -> None:
    finish("c")
    assert redact("c", 1) is False
    assert stored() == ["[DONE]"]


def test_redact_inside_a_transaction_names_the_way_out() -> None:
    publish("c", "secret")
    with transaction.atomic():
        with pytest.raises(PublishNotAllowed, match="on_commit"):
            redact("c", 1)
        transaction.on_commit(partial(redact, "c", 1))
        assert stored() == ["secret"]
    assert stored() == [""]


# -- telling this process


async def test_a_publish_in_any_thread_reaches_the_streams_of_this_process(settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "NOTIFIER": "local", "SAFETY_INTERVAL": 600}
    async with Reader("c") as reader:
        assert registry._hubs.all()
        await asyncio.to_thread(elsewhere, partial(publish, "c", "from a thread"))
        assert (await reader.next()).data == "from a thread"
        await apublish("c", "from a coroutine")
        assert (await reader.next()).data == "from a coroutine"


def test_a_log_that_is_away_is_told(settings: Any) -> None:
    def gone(execute: Any, *args: Any) -> Any:
        raise OperationalError("no route to host")

    for call in (partial(publish, "c", "x"), partial(finish, "c"), partial(cursor, "c")):
        with connection.execute_wrapper(gone), pytest.raises(LogUnavailable, match="no route"):
            call()
    assert publish("c", "1") == id_of("c", 1)


# -- users' tests


class InsideTestCase(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        publish("set-up", "1")

    def test_publishes_are_sequenced_inline(self) -> None:
        with self.captureOnCommitCallbacks() as hooks:
            assert publish("c", "1") == id_of("c", 1)
            assert publish_many([("c", "2"), ("d", "3")]) == [id_of("c", 2), id_of("d", 1)]
            assert finish("d") is True
            assert finish("d") is False
        assert hooks == []
        assert stored() == ["1", "2"]
        assert not OutboxEvent.objects.exists()

    def test_what_was_set_up_is_there(self) -> None:
        assert stored("set-up") == ["1"]
        assert publish("set-up", "2") == id_of("set-up", 2)

    def test_a_cursor_is_taken_inline(self) -> None:
        publish("c", "1")
        with transaction.atomic():
            assert cursor("c") == id_of("c", 1)

    async def test_coroutines_publish_inline_too(self) -> None:
        id = await apublish("c", "1")
        assert id is not None and seq_of(id) == 1
        assert await sync_to_async(stored)() == ["1"]
        assert seq_of(await acursor("c")) == 1
        assert await afinish("c") is True

    def test_coroutines_publish_inline_under_async_to_sync(self) -> None:
        with transaction.atomic():
            assert async_to_sync(apublish)("c", "1") == id_of("c", 1)
        assert stored() == ["1"]


# -- ends of several events


def test_the_last_of_several_events_is_the_end() -> None:
    events = [Event("sorry", event="text"), Event("bye", event="error")]
    before, last = last_entries("c", State.ERROR, events)
    assert (before.kind, before.type, before.data) == (Kind.EVENT, "text", "sorry")
    assert (last.kind, last.type, last.data, last.state) == (
        Kind.TERMINAL,
        "error",
        "bye",
        "error",
    )
    assert {before.channel, last.channel} == {"c"}


def test_an_attempt_is_judged_at_once_also_in_a_transaction() -> None:
    """A run in a project's test is in the test's transaction, and must know its position."""
    publish("c", "one")
    (head,) = get_log().open(["c"])
    attempt = Attempt([make_entry("c", Event("two"))], head.position)
    with transaction.atomic():
        ids = _publish(attempt)
        assert ids == _publish(attempt) == [str(attempt.reached)]
    assert stored() == ["one", "two"]


async def test_entries_are_appended_together_or_not_at_all() -> None:
    entries = [make_entry("c", Event("one")), make_entry("c", Event("two"))]
    ids = await append(entries)
    assert ids is not None
    assert [seq_of(each) for each in ids] == [1, 2]
    assert await astored() == ["one", "two"]
    behind_an_end = [*last_entries("c", State.DONE, [Event("bye")]), *entries]
    with pytest.raises(ChannelFinished):
        await append(behind_an_end)
    assert await astored() == ["one", "two"]


# -- keys


async def test_coroutines_that_publish_the_same_key_at_once_get_one_event() -> None:
    ids = await asyncio.gather(*[apublish("c", str(each), key="k") for each in range(50)])
    assert len(set(ids)) == 1
    assert len(await astored()) == 1
    assert await apublish_many([("c", "x"), ("c", "last")], keys=["k", None]) == [
        *(ids[0], await acursor("c"))
    ]
    assert len(await astored()) == 2


def test_under_async_to_sync_a_key_shares_the_transaction() -> None:
    with transaction.atomic():
        assert async_to_sync(apublish)("c", "1", key="k") is None
        assert async_to_sync(apublish_many)([("c", "2"), ("c", "3")], keys=["k", None]) is None
    assert stored() == ["1", "3"]


@pytest.mark.parametrize("keys", [["a"], ["a", "b", "c"], "ab", ["a", ""], ["a", 7]], ids=repr)
def test_keys_that_do_not_fit_the_events_are_refused(keys: Any) -> None:
    events = [("c", "1"), ("c", "2")]
    with pytest.raises(InvalidKey, match="must"):
        publish_many(events, keys=keys)
    with pytest.raises(InvalidKey, match="must"):
        async_to_sync(apublish_many)(events, keys=keys)
    assert stored() == []


class KeysInsideTestCase(TestCase):
    def test_a_key_names_one_event(self) -> None:
        with transaction.atomic():
            first = publish("c", "1", key="k")
        assert publish("c", "2", key="k") == first == id_of("c", 1)
        assert published("c") == [("message", "1")]
