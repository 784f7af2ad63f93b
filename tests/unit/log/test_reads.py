from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from django_sse.exceptions import LogUnavailable
from django_sse.log import reads
from django_sse.log.model import ModelLog
from django_sse.log.orm import BATCH
from django_sse.models import Channel
from tests.appending import append_to
from tests.unit.log.support import ON_A_DATABASE, Stored, entry, fill, stored

pytestmark = ON_A_DATABASE


def test_a_head_has_all_that_its_row_has(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c"), entry("c")])
    Channel.objects.update(floor=1, state="error", redactions=7)
    row = Channel.objects.get()
    head = reads.heads("default", ["c", "not there"])["c"]
    assert (head.channel, head.key, head.epoch) == ("c", row.pk, row.epoch)
    assert (head.head, head.floor, head.state, head.redactions) == (2, 1, "error", 7)


def test_heads_of_more_channels_than_one_statement_takes(model_log: ModelLog) -> None:
    names = [f"channel-{number}" for number in range(BATCH + 3)]
    model_log.make(names)
    with CaptureQueriesContext(connection) as queries:
        found = reads.heads("default", names)
    assert len(queries) == 2
    assert list(found) != [] and found.keys() == set(names)
    assert all(found[name].channel == name for name in names)
    assert reads.heads("default", []) == {}


def test_a_few_events_are_one_statement_and_a_page_is_two(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c", str(number), "type") for number in range(20)])
    key = model_log.heads(["c"])["c"].key
    with CaptureQueriesContext(connection) as queries:
        assert stored(reads.page("default", key, 17, 2).records) == [
            Stored(18, "type", "17"),
            Stored(19, "type", "18"),
        ]
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        assert [each.seq for each in reads.page("default", key, 0, 15).records] == list(
            range(1, 16)
        )
    assert len(queries) == 2


def test_events_behind_a_hole_are_found_though_none_is_near(model_log: ModelLog) -> None:
    fill("c", 100, 10)
    key = model_log.heads(["c"])["c"].key
    model_log.trim("c", count=5)
    assert [each.seq for each in reads.page("default", key, 3, 2).records] == [96, 97]
    assert [each.seq for each in reads.page("default", key, 3, 50).records] == [96, 97, 98, 99, 100]
    assert reads.page("default", key, 100, 50).records == []


def test_a_database_that_is_away_is_a_log_that_is(model_log: ModelLog) -> None:
    key = model_log.make(["c"])[0].key

    def gone(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        raise OperationalError("no route to host")

    with connection.execute_wrapper(gone):
        with pytest.raises(LogUnavailable):
            reads.heads("default", ["c"])
        with pytest.raises(LogUnavailable):
            reads.page("default", key, 0, 1)
