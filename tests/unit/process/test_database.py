from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connections

from django_sse.process import database
from tests.options import Overrides
from tests.unit.hub.support import TIMEOUT, eventually
from tests.unit.log.support import run_python


async def join(thread: threading.Thread) -> None:
    await asyncio.to_thread(thread.join, TIMEOUT)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def idle(constants: Overrides) -> None:
    constants(THREAD_IDLE=0.05)


async def test_a_call_gets_its_arguments_and_gives_its_result_or_error() -> None:
    def divide(dividend: int, *, divisor: int) -> float:
        return dividend / divisor

    assert await database.run(divide, 6, divisor=3) == 2
    with pytest.raises(ZeroDivisionError):
        await database.run(divide, 6, divisor=0)


async def test_calls_run_in_threads_of_the_library_and_do_not_block_the_loop() -> None:
    called, go_on = threading.Event(), threading.Event()

    def call() -> str:
        called.set()
        assert go_on.wait(TIMEOUT)
        return threading.current_thread().name

    task = asyncio.create_task(database.run(call))
    await asyncio.to_thread(called.wait, TIMEOUT)
    go_on.set()
    assert await task == "django_sse-reader"


@pytest.mark.parametrize("kind", ["writers", "hooks"])
async def test_calls_that_wait_for_a_lock_and_slow_hooks_do_not_keep_readers_waiting(
    kind: str,
) -> None:
    go_on = threading.Event()
    waiting: list[Any] = []
    for _ in range(20):
        if kind == "hooks":
            waiting.append(asyncio.wrap_future(database.run_later(lambda: go_on.wait(TIMEOUT))))
        else:
            waiting.append(asyncio.ensure_future(database.write(go_on.wait, TIMEOUT)))
    async with asyncio.timeout(TIMEOUT / 2):
        assert await database.run(divmod, 7, 2) == (3, 1)
    go_on.set()
    assert await asyncio.gather(*waiting) == [True] * 20


async def test_the_thread_ends_when_idle() -> None:
    await join(await database.run(threading.current_thread))


@pytest.mark.django_db(transaction=True)
async def test_the_connection_is_given_back_when_idle() -> None:
    def query() -> tuple[threading.Thread, Any]:
        User.objects.count()
        wrapper = connections["default"]
        assert wrapper.connection is not None
        return threading.current_thread(), wrapper

    thread, wrapper = await database.run(query)
    assert thread is not threading.current_thread()
    await join(thread)
    assert wrapper.connection is None


async def test_two_loops_share_the_threads() -> None:
    async def names() -> set[str]:
        threads = await asyncio.gather(*[database.run(threading.current_thread) for _ in range(20)])
        return {thread.name for thread in threads}

    here, there = await asyncio.gather(names(), asyncio.to_thread(asyncio.run, names()))
    assert here == there == {"django_sse-reader"}


@pytest.mark.django_db
def test_inside_a_users_testcase_calls_see_what_its_transaction_wrote() -> None:
    User.objects.create(username="only in this transaction")
    assert async_to_sync(database.run)(User.objects.count) == 1


@pytest.mark.django_db(transaction=True)
async def test_outside_of_one_calls_do_not_take_the_callers_thread() -> None:
    own = await sync_to_async(threading.current_thread)()
    assert await database.run(threading.current_thread) is not own


async def test_a_later_call_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("nobody waits for this")

    database.run_later(fail)
    await eventually(lambda: "nobody waits for this" in caplog.text)
    assert caplog.records[-1].levelname == "ERROR"


def test_a_later_call_may_come_from_a_thread_without_a_loop() -> None:
    done = threading.Event()
    database.run_later(done.set)
    assert done.wait(TIMEOUT)


@pytest.mark.django_db(transaction=True)
def test_a_forked_child_has_threads_of_its_own() -> None:
    code, output = run_python(
        """
        import warnings
        # Of Python 3.12 and newer, about the very thing that is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        import asyncio, threading
        from django_sse.process import database

        held, ready = threading.Event(), threading.Event()
        async def occupy():
            calls = [database.run(lambda: (ready.set(), held.wait())) for _ in range(4)]
            await asyncio.gather(*calls)

        parent = threading.Thread(target=lambda: asyncio.run(occupy()), daemon=True)
        parent.start()
        assert ready.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(asyncio.run(database.run(lambda: 7)))
        _, status = os.waitpid(child, 0)
        held.set()
        parent.join(60)
        print(os.waitstatus_to_exitcode(status))
        """
    )
    assert (code, output.strip()) == (0, "7")
