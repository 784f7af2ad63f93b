from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from django_sse.streams.first_item import FirstItem

TIMEOUT = 30.0


def later(call: Callable[[], object]) -> threading.Thread:
    """``call`` in a thread, soon."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


async def test_waiting_ends_with_the_first_item() -> None:
    first = FirstItem()
    waiting = asyncio.create_task(first.wait(TIMEOUT))
    await asyncio.sleep(0)
    assert not waiting.done()
    first.came()
    await waiting
    first.send_headers()


def test_and_so_it_does_in_a_thread() -> None:
    first = FirstItem()
    thread = later(first.came)
    first.wait_in_thread(TIMEOUT)
    first.send_headers()
    thread.join()


async def test_an_item_that_comes_in_a_thread_is_heard_on_the_loop() -> None:
    first = FirstItem()
    thread = later(first.came)
    await first.wait(TIMEOUT)
    first.send_headers()
    thread.join()


@pytest.mark.parametrize("error", [ValueError("early"), SystemExit(3), KeyboardInterrupt()])
async def test_an_error_before_the_headers_is_for_whoever_opens(error: BaseException) -> None:
    first = FirstItem()
    assert first.failed(error) is False
    await first.wait(TIMEOUT)
    with pytest.raises(type(error)) as raised:
        first.send_headers()
    assert raised.value is error


def test_the_same_in_a_thread() -> None:
    first = FirstItem()
    error = ValueError("early")
    assert first.failed(error) is False
    first.wait_in_thread(TIMEOUT)
    with pytest.raises(ValueError, match="early"):
        first.send_headers()


async def test_waiting_is_given_up_and_an_error_is_too_late_after_that() -> None:
    first = FirstItem()
    await first.wait(0.001)
    first.send_headers()
    assert first.failed(ValueError("late")) is True
    # Nobody is told of it here any more.
    first.send_headers()


def test_giving_up_in_a_thread() -> None:
    first = FirstItem()
    first.wait_in_thread(0.001)
    first.send_headers()
    assert first.failed(ValueError("late")) is True


def test_an_error_behind_the_first_item_is_too_late() -> None:
    first = FirstItem()
    first.came()
    assert first.failed(ValueError("late")) is True
    first.send_headers()


def test_an_error_between_the_time_out_and_the_headers_is_raised() -> None:
    first = FirstItem()
    first.wait_in_thread(0.001)
    assert first.failed(ValueError("just in time")) is False
    with pytest.raises(ValueError, match="just in time"):
        first.send_headers()


def test_what_is_decided_stays() -> None:
    first = FirstItem()
    first.came()
    first.came()
    first.send_headers()
    failed = FirstItem()
    assert failed.failed(ValueError("first")) is False
    assert failed.failed(ValueError("second")) is True
    failed.came()
    with pytest.raises(ValueError, match="first"):
        failed.send_headers()


def test_a_race_has_one_winner() -> None:
    for _ in range(200):
        first = FirstItem()
        late: list[bool] = []
        raised: list[BaseException] = []

        def fail(first: FirstItem = first, late: list[bool] = late) -> None:
            late.append(first.failed(ValueError("now")))

        thread = later(fail)
        try:
            first.send_headers()
        except ValueError as error:
            raised.append(error)
        thread.join()
        # Either who opens raises it, or the client hears it: never both, never neither.
        assert late == [not raised]
