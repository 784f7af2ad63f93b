"""The threads of the library end, and give back their connections, when idle."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.contrib.auth.models import User
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections, transaction

from django_sse.process.database import DatabaseExecutor
from tests.options import Overrides

TIMEOUT = 60.0
# Long enough for a thread that would end when idle to have ended.
WHILE = 0.3


@pytest.fixture(autouse=True)
def idle_soon(constants: Overrides) -> None:
    constants(THREAD_IDLE=0.02)


@pytest.fixture
def stay_idle(constants: Overrides) -> None:
    """Threads wait for the next call for as long as a test takes."""
    constants(THREAD_IDLE=600.0)


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """As outside of a test run, where connections are kept from one call to the next."""
    monkeypatch.delattr(mail, "outbox")


@pytest.fixture
def executor() -> Iterator[DatabaseExecutor]:
    executor = DatabaseExecutor(iterates=True)
    yield executor
    thread = executor.submit(threading.current_thread)
    executor.shutdown()
    assert_ends(thread.result(TIMEOUT))


def assert_ends(thread: threading.Thread) -> None:
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def assert_stays(thread: threading.Thread) -> None:
    thread.join(WHILE)
    assert thread.is_alive()


def query() -> tuple[threading.Thread, Any]:
    """This thread, and its connection, which it has used."""
    User.objects.count()
    return threading.current_thread(), connections["default"]


# -- the executor


def test_calls_get_their_arguments_and_give_their_result(executor: DatabaseExecutor) -> None:
    assert executor.submit(divmod, 7, 2).result(TIMEOUT) == (3, 1)
    assert executor.submit(dict, a=1).result(TIMEOUT) == {"a": 1}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_is_the_callers_and_does_not_end_the_thread(
    error: BaseException, executor: DatabaseExecutor, stay_idle: None
) -> None:
    def fail() -> None:
        raise error

    before = executor.submit(threading.current_thread).result(TIMEOUT)
    failed = executor.submit(fail)
    assert failed.exception(TIMEOUT) is error
    assert executor.submit(threading.current_thread).result(TIMEOUT) is before


def test_with_one_worker_calls_run_one_at_a_time_in_their_order(
    executor: DatabaseExecutor, stay_idle: None
) -> None:
    order: list[int] = []
    threads = set()

    def call(number: int) -> None:
        order.append(number)
        threads.add(threading.current_thread())

    wait([executor.submit(call, number) for number in range(200)], TIMEOUT)
    assert order == list(range(200))
    assert len(threads) == 1


def test_with_several_workers_calls_run_side_by_side_up_to_their_number() -> None:
    executor = DatabaseExecutor(3)
    together = threading.Barrier(3)
    calls = [executor.submit(together.wait, TIMEOUT) for _ in range(3)]
    assert sorted(call.result(TIMEOUT) for call in calls) == [0, 1, 2]
    running, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    wait([executor.submit(call) for _ in range(100)], TIMEOUT)
    assert most <= 3
    executor.shutdown()


def test_a_thread_that_waits_is_used_before_another_is_started(stay_idle: None) -> None:
    executor = DatabaseExecutor(8)
    first = executor.submit(threading.current_thread).result(TIMEOUT)
    for _ in range(50):
        assert executor.submit(threading.current_thread).result(TIMEOUT) is first
    executor.shutdown()
    assert_ends(first)


def test_calls_one_after_the_other_are_run_by_one_thread(stay_idle: None) -> None:
    executor = DatabaseExecutor(2)
    both = threading.Barrier(2)
    wait([executor.submit(both.wait, TIMEOUT) for _ in range(2)], TIMEOUT)
    threads = set()
    for _ in range(10):
        threads.add(executor.submit(threading.current_thread).result(TIMEOUT))
        # The thread waits again once it has run its call.
        while len(executor._waiting) < 2:
            time.sleep(0.001)
    assert len(threads) == 1
    executor.shutdown()


def test_calls_from_many_threads_at_once_are_all_run() -> None:
    executor = DatabaseExecutor(4)
    futures: list[Future[int]] = []

    def submit() -> None:
        for number in range(200):
            futures.append(executor.submit(int, number))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sum(future.result(TIMEOUT) for future in futures) == 8 * sum(range(200))
    executor.shutdown()


def test_threads_that_end_and_begin_lose_no_call(constants: Overrides) -> None:
    # Each call may meet a thread that is about to end.
    constants(THREAD_IDLE=0.0005)
    executor = DatabaseExecutor(2)
    pause = threading.Event()
    for number in range(300):
        assert executor.submit(int, number).result(TIMEOUT) == number
        pause.wait(0.0005)
    executor.shutdown()


def test_a_thread_that_the_system_refuses_is_the_callers_error_and_nothing_is_kept(
    executor: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    called: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            executor.submit(called.append, 1)
    executor.submit(called.append, 2).result(TIMEOUT)
    assert called == [2]


def test_a_database_that_cannot_be_configured_is_the_callers_error(
    executor: DatabaseExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = connections.configure_settings({"default": {}, "broken": {"ENGINE": "no.such"}})
    with monkeypatch.context() as patch:
        patch.setitem(connections.databases, "broken", broken["broken"])
        refused = [executor.submit(int) for _ in range(2)]
        for call in refused:
            assert isinstance(call.exception(TIMEOUT), ImproperlyConfigured)
    assert executor.submit(int, 7).result(TIMEOUT) == 7


def test_a_cancelled_call_is_not_run(executor: DatabaseExecutor) -> None:
    go_on = threading.Event()
    executor.submit(go_on.wait, TIMEOUT)
    ran: list[int] = []
    cancelled = executor.submit(ran.append, 1)
    assert cancelled.cancel()
    go_on.set()
    executor.submit(ran.append, 2).result(TIMEOUT)
    assert ran == [2]


@pytest.mark.django_db(transaction=True)
def test_an_error_whose_traceback_has_a_cursor_keeps_no_thread_of_the_librarys(
    production: None,
) -> None:
    executor = DatabaseExecutor()

    def fail() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
            raise ValueError("between two statements")

    thread = executor.submit(threading.current_thread).result(TIMEOUT)
    error = executor.submit(fail).exception(TIMEOUT)
    assert isinstance(error, ValueError)
    assert_ends(thread)


def test_after_shutdown_what_was_asked_for_is_done_and_nothing_more() -> None:
    executor = DatabaseExecutor()
    go_on = threading.Event()
    executor.submit(go_on.wait, TIMEOUT)
    last = executor.submit(threading.current_thread)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)
    go_on.set()
    assert_ends(last.result(TIMEOUT))


def test_shutdown_can_cancel_what_has_not_begun() -> None:
    executor = DatabaseExecutor()
    begun, go_on = threading.Event(), threading.Event()

    def call() -> bool:
        begun.set()
        return go_on.wait(TIMEOUT)

    first, second = executor.submit(call), executor.submit(call)
    assert begun.wait(TIMEOUT)
    executor.shutdown(cancel_futures=True)
    assert second.cancelled()
    go_on.set()
    assert first.result(TIMEOUT)


def test_shutdown_does_not_wait_for_a_call(executor: DatabaseExecutor) -> None:
    busy = DatabaseExecutor()
    go_on = threading.Event()
    call = busy.submit(go_on.wait, TIMEOUT)
    busy.shutdown(wait=True)
    assert not call.done()
    go_on.set()
    assert call.result(TIMEOUT)


def test_what_a_call_returned_is_not_kept_by_the_thread(
    executor: DatabaseExecutor, stay_idle: None
) -> None:
    class Result:
        pass

    result = weakref.ref(executor.submit(Result).result(TIMEOUT))
    executor.submit(int).result(TIMEOUT)
    gc.collect()
    assert result() is None


# -- what an idle thread holds


def test_a_thread_ends_when_idle_and_the_next_call_gets_another(
    executor: DatabaseExecutor,
) -> None:
    first = executor.submit(threading.current_thread).result(TIMEOUT)
    assert_ends(first)
    assert executor.submit(threading.current_thread).result(TIMEOUT) is not first


@pytest.mark.django_db(transaction=True)
def test_the_connection_is_closed_when_the_thread_is_idle(
    executor: DatabaseExecutor, production: None
) -> None:
    thread, connection = executor.submit(query).result(TIMEOUT)
    assert_ends(thread)
    assert connection.connection is None


@pytest.mark.django_db(transaction=True)
def test_with_persistent_connections_it_is_closed_as_well(
    executor: DatabaseExecutor, production: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", 3600)
    thread, connection = executor.submit(query).result(TIMEOUT)
    assert_ends(thread)
    assert connection.connection is None


@pytest.mark.django_db(transaction=True)
def test_the_connection_is_kept_from_one_call_to_the_next(
    executor: DatabaseExecutor, production: None, stay_idle: None
) -> None:
    def connect() -> Any:
        User.objects.count()
        return connections["default"].connection

    assert executor.submit(connect).result(TIMEOUT) is executor.submit(connect).result(TIMEOUT)


@pytest.mark.django_db(transaction=True)
def test_in_a_test_run_the_connection_is_closed_after_each_call(
    executor: DatabaseExecutor, stay_idle: None
) -> None:
    _, connection = executor.submit(query).result(TIMEOUT)
    executor.submit(int).result(TIMEOUT)
    assert connection.connection is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["in production", "in a test run"])
def test_a_thread_stays_while_a_queryset_is_iterated(
    where: str, executor: DatabaseExecutor, request: pytest.FixtureRequest
) -> None:
    if where == "in production":
        request.getfixturevalue("production")
    User.objects.bulk_create([User(username=f"{number:03}") for number in range(10)])

    def begin() -> tuple[threading.Thread, Iterator[str]]:
        names = User.objects.order_by("pk").values_list("username", flat=True)
        return threading.current_thread(), iter(names.iterator(chunk_size=2))

    thread, names = executor.submit(begin).result(TIMEOUT)
    read = [executor.submit(next, names).result(TIMEOUT)]
    assert_stays(thread)
    read += executor.submit(lambda: list(names)).result(TIMEOUT)
    assert read == [f"{number:03}" for number in range(10)]
    # What holds the cursor.
    names = iter(())
    assert_ends(thread)


@pytest.mark.django_db(transaction=True)
def test_a_thread_stays_while_a_transaction_is_open(
    executor: DatabaseExecutor, production: None
) -> None:
    def begin() -> tuple[threading.Thread, Any]:
        block = transaction.atomic()
        block.__enter__()
        User.objects.create(username="one")
        return threading.current_thread(), block

    thread, block = executor.submit(begin).result(TIMEOUT)
    assert_stays(thread)
    executor.submit(block.__exit__, None, None, None).result(TIMEOUT)
    assert_ends(thread)
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_query_that_failed_holds_nothing(executor: DatabaseExecutor, production: None) -> None:
    def fail() -> None:
        connections["default"].cursor().execute("SELECT nonsense FROM nowhere")

    thread = executor.submit(threading.current_thread).result(TIMEOUT)
    failed = executor.submit(fail)
    assert isinstance(failed.exception(TIMEOUT), DatabaseError)
    # The error, with its traceback, is still here.
    assert_ends(thread)


@pytest.mark.django_db(transaction=True)
async def test_a_coroutine_iterates_a_queryset_with_waits_longer_than_a_thread_idles(
    executor: DatabaseExecutor,
) -> None:
    users = [User(username=f"{number:03}") for number in range(6)]
    await asyncio.wrap_future(executor.submit(User.objects.bulk_create, users))
    threads = set()
    names = []
    async with ThreadSensitiveContext(executor=executor):
        async for user in User.objects.order_by("pk").aiterator(chunk_size=2):
            names.append(user.username)
            threads.add(await sync_to_async(threading.current_thread)())
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.1)
    assert names == [f"{number:03}" for number in range(6)]
    assert len(threads) == 1


def test_it_is_over_when_its_calls_are_and_idle_threads_do_not_count() -> None:
    executor, go_on = DatabaseExecutor(2), threading.Event()
    idle = executor.submit(lambda: None)
    idle.result(TIMEOUT)
    busy = executor.submit(go_on.wait, TIMEOUT)
    executor.shutdown()
    assert not executor.over.done()
    go_on.set()
    executor.over.result(TIMEOUT)
    assert busy.done()


def test_one_that_had_no_call_is_over_with_its_shutdown() -> None:
    executor = DatabaseExecutor()
    executor.shutdown()
    executor.shutdown()
    assert executor.over.done()


def test_one_whose_threads_are_idle_is_over_with_its_shutdown(stay_idle: None) -> None:
    executor = DatabaseExecutor()
    executor.submit(lambda: None).result(TIMEOUT)
    while not executor._waiting:
        time.sleep(0.001)
    executor.shutdown()
    assert executor.over.done()
