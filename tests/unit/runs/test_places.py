"""The places for runs in a process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.http import Http404

from django_sse.exceptions import Overloaded, TooManyRuns
from django_sse.models import Run
from django_sse.runs import places
from tests.options import Overrides
from tests.unit.hub.support import eventually
from tests.unit.runs.support import TIMEOUT, Answer, astate, begin, over, tokens

pytestmark = pytest.mark.usefixtures("live")


@pytest.mark.options(RUNS_PER_PROCESS=2)
async def test_one_more_than_the_process_may_have_is_refused_to_any_owner() -> None:
    answers = [Answer() for _ in range(4)]
    tasks = [await begin(answers[n].items(), owner=f"user:{n}") for n in range(2)]
    with pytest.raises(Overloaded, match="2 runs, as many as RUNS_PER_PROCESS"):
        await begin(answers[2].items(), owner="user:2")
    assert not answers[2].began.is_set()
    assert await Run.objects.acount() == 2
    tasks[0].abort()
    await over(tasks[0])
    await begin(answers[3].items(), owner="user:3")


@pytest.mark.options(RUNS_PER_PROCESS=1)
async def test_a_run_that_has_ended_counts_until_its_thread_is_back() -> None:
    def stuck() -> Iterator[str]:
        yield "one"
        assert go_on.wait(TIMEOUT)

    go_on = threading.Event()
    task = await begin(stuck())
    task.abort()
    async with asyncio.timeout(TIMEOUT):
        while await astate(task.run) != "aborted":  # noqa: ASYNC110 - the log tells nobody here
            await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await begin(tokens(1), owner="user:2")
    go_on.set()
    await over(task)
    await over(await begin(tokens(1), owner="user:2"))


async def test_a_run_that_never_was_leaves_its_place(configure: Overrides) -> None:
    async def failing() -> AsyncIterator[str]:
        raise Http404
        yield "never"

    configure(RUNS_PER_PROCESS=1, SYNC_GENERATORS=0)
    for _ in range(2):
        with pytest.raises(Http404):
            await begin(failing())
        with pytest.raises(Overloaded, match="SYNC_GENERATORS"):
            await begin(iter(["never"]))
    await over(await begin(tokens(1)))
    await eventually(lambda: places._taken == 0)


@pytest.mark.parametrize("ceiling", ["RUNS_PER_PROCESS", "RUNS_PER_OWNER"])
async def test_a_run_that_never_was_counts_until_the_call_that_it_left_is_back(
    ceiling: str, configure: Overrides
) -> None:
    async def impatient() -> AsyncIterator[str]:
        async with asyncio.timeout(0.01):
            await sync_to_async(go_on.wait)(TIMEOUT)
        yield "never"

    configure(**{ceiling: 1})
    go_on = threading.Event()
    with pytest.raises(TimeoutError):
        await begin(impatient())
    with pytest.raises((Overloaded, TooManyRuns)):
        await begin(tokens(1))
    go_on.set()
    await eventually(lambda: places._taken == 0)
    await over(await begin(tokens(1)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.options(RUNS_PER_PROCESS=1)
async def test_a_forked_child_has_none_of_its_parents_runs() -> None:
    answer = Answer()
    await begin(answer.items())
    child = os.fork()
    if not child:
        os._exit(places._taken)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
