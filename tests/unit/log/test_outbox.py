from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_sse.log import outbox
from django_sse.log.base import Entry
from django_sse.log.model import ModelLog
from django_sse.models import OutboxEvent
from tests.appending import append_to
from tests.unit.log.support import ON_A_DATABASE, entry, orphan, terminal

pytestmark = ON_A_DATABASE

# No database takes a negative number for the kind.
REFUSED = Entry("c", "", "refused", -1)


def test_every_field_arrives() -> None:
    outbox.add("default", [Entry("Ünïcode", "type", "däta"), terminal("d", "aborted")])
    rows = OutboxEvent.objects.order_by("pk").values_list("name", "type", "data", "kind", "state")
    assert list(rows) == [
        ("Ünïcode", "type", "däta", 0, ""),
        ("d", "close", "[DONE]", 1, "aborted"),
    ]


@pytest.mark.parametrize("count", [1, 30])
def test_events_are_one_statement_however_many(count: int) -> None:
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        outbox.add("default", [entry("c", str(number)) for number in range(count)])
    assert len(queries) == 1
    rows = OutboxEvent.objects.order_by("pk").values_list("data", flat=True)
    assert list(rows) == [str(number) for number in range(count)]


def test_one_that_is_refused_takes_all_along_though_the_caller_goes_on() -> None:
    with suppress(DatabaseError), transaction.atomic():
        with pytest.raises(DatabaseError):
            outbox.add("default", [entry("c", "1"), REFUSED, entry("c", "2")])
        # The transaction is as good as rolled back: what the caller does now is an error.
        OutboxEvent.objects.create(name="c", name_hash="h", data="3")
    assert OutboxEvent.objects.count() == 0


def test_ends_are_those_of_the_channels_and_those_that_wait(model_log: ModelLog) -> None:
    append_to(model_log, [entry("open"), terminal("ended", "error")])
    orphan(model_log, entry("deferred"), terminal("ending", "aborted"), entry("open"))
    names = ["open", "ended", "deferred", "ending", "not there"]
    assert outbox.ends("default", names) == {"ended": "error", "ending": "aborted"}
    assert outbox.ends("default", ["open", "ending"]) == {"ending": "aborted"}
