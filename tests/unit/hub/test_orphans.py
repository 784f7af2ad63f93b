from __future__ import annotations

import pytest

from django_sse.exceptions import LogUnavailable
from django_sse.hub.orphans import Orphans, catch_up
from django_sse.hub.registry import get_hub
from tests.unit.hub.support import Reader, WatchedLog, commit_elsewhere, eventually

pytestmark = pytest.mark.usefixtures("notifier")


@pytest.mark.options(SAFETY_INTERVAL=0.01)
async def test_what_cannot_be_sequenced_keeps_nothing_from_the_others_and_is_said_once(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await get_hub().topic("a", Reader())

    async def read_up_to(seq: int) -> None:
        await eventually(lambda: topic.ring.tail == seq)

    async def polled(times: int) -> None:
        polls = log.orphan_queries + times
        await eventually(lambda: log.orphan_queries >= polls)

    for outage in (1, 2):
        log.stuck = {"b"}
        commit_elsewhere("a", "x")
        await read_up_to(outage)
        await polled(3)
        assert caplog.text.count("read-only") == outage
        log.stuck = set()
        await polled(2)
    assert "died" not in caplog.text


def test_what_cannot_be_sequenced_is_said_with_the_channels_and_the_reason(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.stuck = {"a", "b"}
    Orphans().sequence()
    (record,) = caplog.records
    assert "'a', 'b'" in record.getMessage() and "read-only" in record.getMessage()
    assert not record.exc_info


def test_an_error_that_is_a_bug_comes_with_its_traceback(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.stuck = {"a"}
    log.stuck_by = KeyError("a bug")
    Orphans().sequence()
    (record,) = caplog.records
    assert record.exc_info and record.exc_info[0] is KeyError


def test_a_log_that_is_away_is_no_matter_of_the_outbox(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.away = True
    with pytest.raises(LogUnavailable):
        Orphans().sequence()
    assert caplog.records == []


def test_who_catches_up_reads_on_whatever_cannot_be_sequenced(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.stuck = {"a"}
    catch_up(["a", "b"])
    # The safety poll says it.
    assert caplog.records == []
