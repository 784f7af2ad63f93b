"""A run's own channel, in the run's process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.log.base import State
from django_sse.models import Run
from django_sse.process import database
from django_sse.publishing import last_entries
from django_sse.runs import store
from django_sse.runs.channel import OwnChannel
from django_sse.wire import Event
from tests.unit.log.support import entry
from tests.unit.runs.support import INTERRUPTED, aend, arecords, astate, atexts, new_run

pytestmark = pytest.mark.usefixtures("live")


@pytest.fixture
async def run(live: None) -> Run:
    return await database.run(new_run)


async def ended(run: Run) -> bool:
    found = await database.run(store.find, run.pk)
    return found is not None and found.ended is not None


async def test_closed_after_its_own_end_it_asks_the_log_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = OwnChannel(run)
    await channel.append(last_entries(run.channel, State.DONE, PLAIN.done()))

    def never(runs: Any) -> Any:
        raise AssertionError("each run's end would cost that")

    with monkeypatch.context() as patch:
        patch.setattr(store, "heads", never)
        await channel.close(store.ended)
    assert await ended(run)
    assert (await astate(run), await atexts(run)) == ("done", ["[DONE]"])


async def test_closed_after_an_end_of_others_it_keeps_that(run: Run) -> None:
    channel = OwnChannel(run)
    await channel.append([entry(run.channel, "one")])
    assert await aend(run, State.ABORTED, Event("stopped"))
    with pytest.raises(ChannelFinished):
        await channel.append([entry(run.channel, "two")])
    await channel.close(store.ended)
    assert await ended(run)
    assert (await astate(run), await atexts(run)) == ("aborted", ["one", "stopped"])


async def test_closed_without_an_end_it_gets_one(run: Run) -> None:
    """As if a restore had removed the end that another process gave it."""
    channel = OwnChannel(run)
    await channel.append([entry(run.channel, "one")])
    await channel.close(store.ended)
    first, last = await arecords(run)
    assert (first.data, json.loads(last.data)) == ("one", INTERRUPTED)
    assert await ended(run)
    assert await astate(run) == "error"


async def test_a_row_that_cannot_be_marked_is_marked_later(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = OwnChannel(run)
    await channel.append(last_entries(run.channel, State.DONE, PLAIN.done()))
    monkeypatch.setattr("django_sse.runs.channel._RETRY", 0.0)
    monkeypatch.setattr(store, "ended", away_twice(store.ended))
    await channel.close(store.ended)
    assert await ended(run)


def away_twice(call: Any) -> Any:
    left = [LogUnavailable("away"), LogUnavailable("away")]

    def perhaps(*args: Any) -> Any:
        if left:
            raise left.pop()
        return call(*args)

    return perhaps
