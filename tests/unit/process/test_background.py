from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import CancelledError, wait

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone, translation

from django_sse.process.background import BackgroundLoop, get_background_loop
from tests.unit.log.support import run_python

TIMEOUT = 60.0

number = contextvars.ContextVar("number", default=0)


async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    return asyncio.get_running_loop(), threading.current_thread()


def test_a_process_has_one_loop_in_one_thread() -> None:
    first = get_background_loop().submit(where()).result(TIMEOUT)
    assert get_background_loop().submit(where()).result(TIMEOUT) == first
    assert first[1] is not threading.current_thread()
    assert first[1].daemon


def test_threads_that_ask_for_it_at_the_same_moment_get_the_same() -> None:
    threads = 8
    together = threading.Barrier(threads)
    found: set[BackgroundLoop] = set()

    def ask() -> None:
        together.wait(TIMEOUT)
        found.add(get_background_loop())

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(TIMEOUT)
    assert len(found) == 1


def test_work_of_many_threads_runs_side_by_side() -> None:
    arrived = 0
    all_there = asyncio.Event()

    async def meet() -> int:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            all_there.set()
        async with asyncio.timeout(TIMEOUT):
            await all_there.wait()
        return arrived

    futures = [get_background_loop().submit(meet()) for _ in range(50)]
    wait(futures, TIMEOUT)
    assert [future.result(0) for future in futures] == [50] * 50


def test_an_error_is_the_callers() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        get_background_loop().submit(fail()).result(TIMEOUT)
    assert get_background_loop().submit(where()).result(TIMEOUT)


def test_work_that_is_cancelled_ends_with_its_finally() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.set()

    future = get_background_loop().submit(work())
    assert begun.wait(TIMEOUT)
    assert future.cancel()
    assert ended.wait(TIMEOUT)
    with pytest.raises(CancelledError):
        future.result(TIMEOUT)


def test_work_sees_the_language_the_time_zone_and_the_context_of_who_submits_it() -> None:
    async def look() -> tuple[str | None, str, int]:
        await asyncio.sleep(0)
        return translation.get_language(), timezone.get_current_timezone_name(), number.get()

    token = number.set(7)
    try:
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            found = get_background_loop().submit(look()).result(TIMEOUT)
    finally:
        number.reset(token)
    assert found == ("de", "Asia/Tokyo", 7)
    # And the next does not see those of the last.
    after = get_background_loop().submit(look()).result(TIMEOUT)
    assert after == (translation.get_language(), timezone.get_current_timezone_name(), 0)


@pytest.mark.django_db(transaction=True)
def test_a_forked_child_has_a_loop_of_its_own() -> None:
    code, output = run_python(
        """
        import warnings
        # Of Python 3.12 and newer, about the very thing that is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        import asyncio
        from django_sse.process.background import get_background_loop

        async def number(n):
            await asyncio.sleep(0)
            return n

        parent = get_background_loop()
        assert parent.submit(number(1)).result(60) == 1
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            # The parent's says that it runs, but nothing runs it here.
            assert parent.loop.is_running()
            assert get_background_loop() is not parent
            os._exit(get_background_loop().submit(number(7)).result(60))
        _, status = os.waitpid(child, 0)
        assert get_background_loop() is parent
        print(os.waitstatus_to_exitcode(status), parent.submit(number(2)).result(60))
        """
    )
    assert (code, output.strip()) == (0, "7 2")


def test_the_thread_that_waits_is_not_lent_to_it() -> None:
    # Else it would run its next coroutine on this loop, with what belongs to other requests.
    async def elsewhere() -> set[int]:
        # asgiref finds the thread again when the first has come back.
        return {await sync_to_async(threading.get_ident)() for _ in range(3)}

    async def here() -> tuple[set[int], asyncio.AbstractEventLoop]:
        future = get_background_loop().submit(elsewhere())
        return await asyncio.wrap_future(future), asyncio.get_running_loop()

    used, _ = async_to_sync(here)()
    assert threading.get_ident() not in used
    assert async_to_sync(here)()[1] is not get_background_loop().loop
