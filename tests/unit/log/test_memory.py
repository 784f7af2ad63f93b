from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_sse.log.memory import MemoryLog
from tests.appending import append_to
from tests.unit.log.support import announce_nothing, entry, everything, hooks_lost, texts

pytestmark = pytest.mark.django_db(transaction=True)


def test_clear_forgets_everything(memory_log: MemoryLog) -> None:
    append_to(memory_log, [entry("c", "1")])
    (old,) = memory_log.make(["c"])
    memory_log.clear()
    assert list(memory_log.channels()) == []
    assert memory_log.read(old.key, 0, 10).records == []
    (new,) = memory_log.make(["c"])
    assert new.head == 0
    assert new.epoch != old.epoch
    assert new.key != old.key


def test_a_page_that_was_read_does_not_change_under_its_reader(memory_log: MemoryLog) -> None:
    append_to(memory_log, [entry("c", "1"), entry("c", "2")])
    page = everything(memory_log, "c")
    before = list(page)
    memory_log.redact("c", 1)
    memory_log.trim("c", count=0)
    assert page == before


def test_what_append_returned_does_not_change_either(memory_log: MemoryLog) -> None:
    (done,) = append_to(memory_log, [entry("c", "1")])
    append_to(memory_log, [entry("c", "2")])
    memory_log.trim("c", count=0)
    assert [each.data for each in done.records] == ["1"]


def test_created_never_decreases_though_the_clock_does(
    memory_log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    clock = iter([now, now - timedelta(hours=1), now + timedelta(hours=1), now])
    (head,) = memory_log.make(["c"])
    monkeypatch.setattr(timezone, "now", lambda: next(clock))
    for _ in range(4):
        append_to(memory_log, [entry("c")])
    (head,) = memory_log.make(["c"])

    def older(moment: datetime) -> int:
        return memory_log.seq_before(head, moment)

    assert [older(now), older(now + timedelta(minutes=1))] == [0, 2]
    assert [older(now + timedelta(hours=1)), older(now + timedelta(hours=2))] == [2, 4]


def test_nothing_waits_to_be_sequenced(memory_log: MemoryLog) -> None:
    with transaction.atomic():
        memory_log.defer([entry("c", "1")], announce_nothing)
        assert memory_log.orphans() == []
    assert memory_log.orphans() == []
    assert memory_log.sequence(["c"]) == []
    assert texts(memory_log, "c") == ["1"]


def test_a_lost_hook_loses_its_events_as_documented(memory_log: MemoryLog) -> None:
    with hooks_lost():
        memory_log.defer([entry("c", "1")], announce_nothing)
    append_to(memory_log, [entry("c", "2")])
    assert texts(memory_log, "c") == ["2"]
