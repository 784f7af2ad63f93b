"""What every log must hold (`django_sse.log.base`); one suite over all that claim it."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from django_sse.exceptions import ChannelFinished, PublishNotAllowed
from django_sse.log import EventLog
from django_sse.log.base import PAGE_CHARACTERS, Appended, Entry, Kind, Page, Record, State
from django_sse.log.empty import newest_minute
from django_sse.wire.cursor import NO_TAG, is_empty, tag_of
from tests.appending import append_to, finish_in
from tests.unit.log.support import (
    RollBack,
    Stored,
    age,
    announce_nothing,
    assert_dense,
    dropped,
    elsewhere,
    entry,
    everything,
    hooks_lost,
    in_threads,
    rolled_back,
    skip_unless_writers_overlap,
    stored,
    terminal,
    texts,
)

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["django_sse"]),
    pytest.mark.usefixtures("storage"),
]


def defer(log: EventLog, channel: str, *data: str) -> None:
    log.defer([entry(channel, each) for each in data], announce_nothing)


# -- append


def test_a_channel_is_numbered_from_one_without_holes(log: EventLog) -> None:
    for data in "abc":
        append_to(log, [entry("c", data)])
    append_to(log, [entry("c", "d"), entry("c", "e")])
    records = everything(log, "c")
    assert_dense(records)
    assert [each.data for each in records] == list("abcde")


def test_channels_are_numbered_apart(log: EventLog) -> None:
    append_to(log, [entry("a", "1"), entry("b", "2"), entry("a", "3")])
    assert everything(log, "a") == [Stored(1, "", "1"), Stored(2, "", "3")]
    assert everything(log, "b") == [Stored(1, "", "2")]


def test_append_tells_what_it_sequenced_once_for_each_channel(log: EventLog) -> None:
    append_to(log, [entry("a", "before")])
    done = append_to(log, [entry("a", "1", "t"), entry("b", "2"), entry("a", "3")])
    heads = log.heads(["a", "b"])
    assert [(each.channel, each.epoch, stored(each.records)) for each in done] == [
        ("a", heads["a"].epoch, [Stored(2, "t", "1"), Stored(3, "", "3")]),
        ("b", heads["b"].epoch, [Stored(1, "", "2")]),
    ]
    assert [each.position for each in done] == [heads[name].position for name in "ab"]


def test_what_is_appended_is_readable_by_others_at_once(log: EventLog) -> None:
    append_to(log, [entry("c", "x")])
    assert elsewhere(partial(texts, log, "c")) == ["x"]


def test_type_and_text_come_back_as_they_were(log: EventLog) -> None:
    data = "  ü€😀\r\n\n\u2028\x1f\x7f\ttext  "
    append_to(log, [entry("c", data, "Ünïcode type "), entry("c", "")])
    assert everything(log, "c") == [Stored(1, "Ünïcode type ", data), Stored(2, "", "")]


def test_names_that_differ_by_case_or_space_or_accent_are_different_channels(log: EventLog) -> None:
    names = ["order-a", "Order-A", "order-a ", " order-a", "order-ä", "order-a\u0308", "ORDER-A"]
    append_to(log, [entry(name, name) for name in names])
    heads = log.make(names)
    assert [head.channel for head in heads] == names
    assert len({head.epoch for head in heads}) == len(names)
    assert [texts(log, name) for name in names] == [[name] for name in names]


def test_several_channels_are_appended_to_all_or_none(log: EventLog) -> None:
    append_to(log, [entry("b", "old")])
    finish_in(log, terminal("z"))
    with pytest.raises(ChannelFinished):
        append_to(log, [entry("a"), entry("b"), entry("z"), entry("b")])
    assert texts(log, "a") == []
    assert texts(log, "b") == ["old"]
    append_to(log, [entry("b", "next")])
    assert_dense(everything(log, "b"))


def test_nothing_can_stand_behind_a_terminal_event_of_the_same_append(log: EventLog) -> None:
    with pytest.raises(ChannelFinished):
        append_to(log, [entry("c", "1"), terminal("c"), entry("c", "2")])
    assert texts(log, "c") == []
    assert not log.make(["c"])[0].state


def test_an_append_may_end_with_the_terminal_event(log: EventLog) -> None:
    append_to(log, [entry("c", "1"), terminal("c"), entry("d", "1")])
    assert [each.kind for each in everything(log, "c")] == [Kind.EVENT, Kind.TERMINAL]
    assert log.heads(["c", "d"])["c"].state == State.DONE
    assert log.heads(["c", "d"])["d"].state == State.OPEN


# -- order


def test_eight_writers_are_numbered_densely_and_no_reader_is_overtaken(log: EventLog) -> None:
    writers, each_writes = 8, 15
    total = writers * each_writes
    (head,) = log.make(["c"])
    ended: list[int] = []

    def write(name: int) -> None:
        chance = random.Random(name)
        for number in range(each_writes):
            kind = chance.randrange(3)
            if kind == 0:
                append_to(log, [entry("c", f"{name}:{number}")])
                continue
            if kind == 1:
                with rolled_back():
                    defer(log, "c", "never")
            with transaction.atomic():
                defer(log, "c", f"{name}:{number}")

    def write_and_tell(name: int) -> None:
        try:
            write(name)
        finally:
            ended.append(name)

    def follow() -> list[Record]:
        seen: list[Record] = []
        while True:
            last_look = len(ended) == writers
            page = log.read(head.key, len(seen), 7).records
            seen += page
            # A row that slips in behind what was read would make this miss its number.
            assert_dense(seen)
            if last_look and not page:
                return seen

    *_, first, second = in_threads(
        *[partial(write_and_tell, name) for name in range(writers)], follow, follow
    )
    assert first == second
    assert stored(first or []) == everything(log, "c")
    assert len(first or []) == total
    for name in range(writers):
        own = [r.data for r in first or [] if r.data.startswith(f"{name}:")]
        assert own == [f"{name}:{number}" for number in range(each_writes)]


@pytest.mark.parametrize("how", ["append", "transaction"])
def test_what_starts_after_another_returned_comes_after_it(log: EventLog, how: str) -> None:
    returned: list[int] = []
    lock = threading.Lock()

    def published(data: str) -> int:
        if how == "append":
            (done,) = append_to(log, [entry("c", data)])
            return done.records[0].seq
        with transaction.atomic():
            defer(log, "c", data)
        return 1 + texts(log, "c").index(data)

    def write(name: int) -> list[tuple[int, int]]:
        pairs = []
        for number in range(10):
            with lock:
                before = max(returned, default=0)
            seq = published(f"{name}:{number}")
            with lock:
                returned.append(seq)
            pairs.append((before, seq))
        return pairs

    for pairs in in_threads(*[partial(write, name) for name in range(4)]):
        assert all(before < seq for before, seq in pairs)
    assert_dense(everything(log, "c"))
    assert len(everything(log, "c")) == 40


def test_several_channels_in_any_order_do_not_deadlock(log: EventLog) -> None:
    names = [f"channel-{number}" for number in range(5)]

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(10):
            chosen = chance.sample(names, 3)
            if chance.random() < 0.5:
                append_to(log, [entry(name) for name in chosen])
                continue
            with transaction.atomic():
                for name in chosen:
                    log.defer([entry(name)], announce_nothing)

    in_threads(*[partial(write, seed) for seed in range(6)])
    assert sum(len(everything(log, name)) for name in names) == 6 * 10 * 3
    for name in names:
        assert_dense(everything(log, name))


# -- the caller's transaction


def test_it_knows_whether_there_is_a_transaction_to_share_the_fate_of(log: EventLog) -> None:
    assert not log.in_transaction()
    with transaction.atomic():
        assert log.in_transaction()


def test_with_autocommit_off_no_promise_is_made(log: EventLog) -> None:
    transaction.set_autocommit(False)
    try:
        with pytest.raises(PublishNotAllowed, match=r"atomic\(\)"):
            log.in_transaction()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_what_is_deferred_is_seen_by_nobody_before_the_commit(log: EventLog) -> None:
    with transaction.atomic():
        defer(log, "c", "1", "2")
        assert texts(log, "c") == []
        assert elsewhere(partial(texts, log, "c")) == []
        assert log.sequence(["c"]) == []
    assert texts(log, "c") == ["1", "2"]


@pytest.mark.parametrize("wait", [0.0, 60.0])
def test_what_was_sequenced_already_is_not_sequenced_again(log: EventLog, wait: float) -> None:
    with transaction.atomic():
        defer(log, "c", "1")
    assert log.sequence(["c", "d"], wait=wait) == []
    assert texts(log, "c") == ["1"]
    assert list(log.channels()) == ["c"]


def test_the_commit_announces_what_it_sequenced(log: EventLog) -> None:
    announced: list[Appended] = []
    with transaction.atomic():
        log.defer([entry("a", "1"), entry("b", "2")], announced.extend)
        log.defer([entry("a", "3")], announced.extend)
        assert announced == []
    heard = [(each.channel, record) for each in announced for record in stored(each.records)]
    assert sorted(heard) == [
        ("a", Stored(1, "", "1")),
        ("a", Stored(2, "", "3")),
        ("b", Stored(1, "", "2")),
    ]
    assert {each.epoch for each in announced} == {head.epoch for head in log.make(["a", "b"])}


def test_what_is_rolled_back_was_never_there(log: EventLog) -> None:
    announced: list[Appended] = []
    with rolled_back():
        log.defer([entry("c", "never")], announced.extend)
    append_to(log, [entry("c", "after")])
    assert everything(log, "c") == [Stored(1, "", "after")]
    assert announced == []
    assert list(log.orphans()) == []


def test_an_inner_block_commits_with_the_outer(log: EventLog) -> None:
    with transaction.atomic():
        defer(log, "c", "1")
        with transaction.atomic():
            defer(log, "c", "2")
        assert texts(log, "c") == []
        defer(log, "c", "3")
    assert texts(log, "c") == ["1", "2", "3"]


def test_an_inner_block_is_rolled_back_with_the_outer(log: EventLog) -> None:
    with rolled_back(), transaction.atomic():
        defer(log, "c", "never")
    assert log.sequence(["c"]) == []
    assert texts(log, "c") == []


@pytest.mark.parametrize("kept", ["before", "after", "both"])
def test_a_savepoint_that_rolls_back_takes_its_events_and_no_others(
    log: EventLog, kept: str
) -> None:
    with transaction.atomic():
        if kept != "after":
            defer(log, "c", "before")
        with rolled_back():
            defer(log, "c", "never")
        if kept != "before":
            defer(log, "c", "after")
    assert texts(log, "c") == (["before", "after"] if kept == "both" else [kept])
    assert list(log.orphans()) == []


def test_an_error_in_a_later_hook_of_the_project_changes_nothing(log: EventLog) -> None:
    with hooks_lost(before=lambda: defer(log, "c", "1")):
        pass
    assert texts(log, "c") == ["1"]


def test_an_error_after_the_commit_is_not_the_callers(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(appended: list[Appended]) -> None:
        raise RollBack

    with transaction.atomic():
        log.defer([entry("c", "1")], fail)
    assert texts(log, "c") == ["1"]
    assert "RollBack" in caplog.text


def test_nothing_is_sequenced_while_the_caller_may_still_roll_back(log: EventLog) -> None:
    with rolled_back():
        defer(log, "c", "never")
        assert log.sequence(["c"]) == []
    transaction.set_autocommit(False)
    try:
        assert log.sequence(["c"]) == []
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert texts(log, "c") == []


def test_a_block_with_autocommit_off_commits_by_hand(log: EventLog) -> None:
    transaction.set_autocommit(False)
    try:
        with transaction.atomic():
            defer(log, "c", "1")
        assert texts(log, "c") == []
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert texts(log, "c") == ["1"]


def test_a_publish_that_starts_after_a_commit_comes_after_it(log: EventLog) -> None:
    with transaction.atomic():
        defer(log, "c", "first")
    append_to(log, [entry("c", "second")])
    assert texts(log, "c") == ["first", "second"]


# -- finish


def test_finish_appends_the_terminal_event(log: EventLog) -> None:
    append_to(log, [entry("c", "1")])
    (done,) = finish_in(log, terminal("c", "error"))
    assert stored(done.records) == [Stored(2, "close", "[DONE]", Kind.TERMINAL)]
    assert everything(log, "c")[-1:] == stored(done.records)
    assert log.make(["c"])[0].state == State.ERROR


def test_a_channel_that_was_never_published_to_can_be_finished(log: EventLog) -> None:
    assert finish_in(log, terminal("c"))
    assert [each.kind for each in everything(log, "c")] == [Kind.TERMINAL]


def test_a_second_finish_changes_nothing(log: EventLog) -> None:
    finish_in(log, terminal("c", "done"))
    before = everything(log, "c")
    assert finish_in(log, terminal("c", "aborted")) == []
    assert everything(log, "c") == before
    assert log.make(["c"])[0].state == State.DONE


def test_of_many_that_finish_at_once_exactly_one_does(log: EventLog) -> None:
    states = ["done", "error", "aborted", "done", "error", "aborted"]
    for number in range(5):
        name = f"channel-{number}"
        append_to(log, [entry(name)])
        calls = [partial(finish_in, log, terminal(name, state)) for state in states]
        results = in_threads(*calls)
        assert sum(map(bool, results)) == 1
        winner = next(state for state, done in zip(states, results, strict=True) if done)
        assert log.make([name])[0].state == winner
        assert [each.kind for each in everything(log, name)] == [Kind.EVENT, Kind.TERMINAL]


def test_nothing_follows_the_end_whatever_races_with_it(log: EventLog) -> None:
    begun = threading.Event()

    def write() -> int:
        written = 0
        with suppress(ChannelFinished):
            while append_to(log, [entry("c")]):
                written += 1
                if written == 3:
                    begun.set()
        return written

    def end() -> int:
        assert begun.wait(60)
        return len(finish_in(log, terminal("c")))

    *written, ended = in_threads(write, write, write, end)
    records = everything(log, "c")
    assert ended == 1
    assert len(records) == sum(written) + 1
    assert [each.kind for each in records[-2:]] == [Kind.EVENT, Kind.TERMINAL]


def test_append_to_a_finished_channel_is_refused(log: EventLog) -> None:
    finish_in(log, terminal("c", "aborted"))
    with pytest.raises(ChannelFinished, match=r"'c'.*aborted"):
        append_to(log, [entry("c")])


def test_defer_to_a_channel_that_is_seen_to_be_finished_is_refused(log: EventLog) -> None:
    finish_in(log, terminal("c"))
    with transaction.atomic(), pytest.raises(ChannelFinished):
        defer(log, "c", "x")


def test_what_commits_after_the_end_is_dropped_and_reported(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    announced: list[Appended] = []
    skip_unless_writers_overlap(log)
    with dropped() as heard, transaction.atomic():
        log.defer([entry("c", "1"), entry("d", "2")], announced.extend)
        log.defer([entry("c", "3")], announced.extend)
        announced += elsewhere(partial(finish_in, log, terminal("c")))
    assert [each.kind for each in everything(log, "c")] == [Kind.TERMINAL]
    assert texts(log, "d") == ["2"]
    assert {each.channel for each in announced} == {"c", "d"}
    assert sum(count for channel, count in heard if channel == "c") == 2
    assert {channel for channel, _ in heard} == {"c"}
    assert "events for the channel 'c': they were committed after it had finished" in caplog.text
    assert list(log.orphans()) == []


@pytest.mark.parametrize("late", [entry("c"), terminal("c", "done")], ids=["event", "end"])
def test_defer_behind_an_end_of_the_same_transaction_is_refused(log: EventLog, late: Entry) -> None:
    append_to(log, [entry("c", "1")])
    with dropped() as heard, transaction.atomic():
        log.defer([entry("c", "2"), terminal("c", "error")], announce_nothing)
        with pytest.raises(ChannelFinished, match=r"'c'.*error"):
            log.defer([entry("d"), late], announce_nothing)
        defer(log, "d", "goes on")
    assert [each.kind for each in everything(log, "c")] == [0, 0, Kind.TERMINAL]
    assert log.make(["c"])[0].state == State.ERROR
    assert texts(log, "d") == ["goes on"]
    assert heard == []


def test_nothing_can_stand_behind_a_terminal_event_deferred_together(log: EventLog) -> None:
    with transaction.atomic(), pytest.raises(ChannelFinished):
        log.defer([terminal("c"), entry("c")], announce_nothing)
    assert texts(log, "c") == []


def test_an_end_that_was_rolled_back_is_seen_by_nobody(log: EventLog) -> None:
    with transaction.atomic():
        defer(log, "c", "1")
        with rolled_back():
            log.defer([terminal("c")], announce_nothing)
        defer(log, "c", "2")
    with rolled_back():
        log.defer([terminal("c")], announce_nothing)
    with transaction.atomic():
        defer(log, "c", "3")
    assert texts(log, "c") == ["1", "2", "3"]


def test_a_receiver_that_fails_costs_the_other_channels_nothing(log: EventLog) -> None:
    from django_sse.signals import events_dropped

    def fail(**kwargs: Any) -> None:
        raise RuntimeError

    skip_unless_writers_overlap(log)
    announced: list[Appended] = []
    with transaction.atomic():
        log.defer([entry("c"), entry("d", "1")], announced.extend)
        elsewhere(partial(finish_in, log, terminal("c")))
        events_dropped.connect(fail)
    events_dropped.disconnect(fail)
    assert texts(log, "d") == ["1"]
    assert "d" in {each.channel for each in announced}


# -- heads


def test_make_makes_the_rows_of_channels_that_have_none(log: EventLog) -> None:
    (head,) = log.make(["c"])
    assert (head.channel, head.head, head.floor, head.state) == ("c", 0, 0, "")
    assert log.make(["c"]) == log.open(["c"]) == [head]


def test_open_gives_a_channel_without_a_row_an_empty_head_and_makes_none(log: EventLog) -> None:
    append_to(log, [entry("b")])
    b, a = log.open(["b", "a"])
    assert (b.key > 0, b.head, is_empty(b.epoch)) == (True, 1, False)
    assert (a.channel, a.key, a.head, a.floor, a.state) == ("a", 0, 0, 0, "")
    assert newest_minute("a", [a.epoch]) is not None
    assert log.read(a.key, 0, 10) == Page(NO_TAG, [])
    assert log.seq_before(a, timezone.now()) == 0
    assert list(log.channels()) == ["b"]


@pytest.mark.parametrize("method", ["open", "make"])
def test_heads_come_in_the_order_in_which_they_were_asked_for(log: EventLog, method: str) -> None:
    append_to(log, [entry("b")])
    names = ["c", "b", "a", "b"]
    assert [head.channel for head in getattr(log, method)(names)] == names


def test_the_minute_is_the_present_one_in_utc(log: EventLog) -> None:
    before = int(time.time()) // 60
    assert before - 1 <= log.minute() <= int(time.time()) // 60 + 1


def test_many_that_make_a_new_channel_at_once_get_one_epoch(log: EventLog) -> None:
    found = in_threads(*[partial(log.make, ["c", "d"])] * 8)
    assert len({head.epoch for heads in found for head in heads}) == 2


def test_heads_makes_nothing(log: EventLog) -> None:
    append_to(log, [entry("a")])
    assert set(log.heads(["a", "b"])) == {"a"}
    assert set(log.heads(["a", "b"])) == {"a"}
    assert list(log.channels()) == ["a"]


def test_heads_of_many_channels(log: EventLog) -> None:
    names = [f"channel-{number}" for number in range(1203)]
    log.make(names)
    assert set(log.heads([*names, "another"])) == set(names)


def test_channels_tells_all_names(log: EventLog) -> None:
    assert list(log.channels()) == []
    append_to(log, [entry("a"), entry("B")])
    log.make(["c"])
    assert sorted(log.channels()) == ["B", "a", "c"]


# -- read


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [
        (0, 3, [1, 2, 3]),
        (3, 3, [4, 5]),
        (4, 1, [5]),
        (5, 3, []),
        (99, 3, []),
        (0, 99, [1, 2, 3, 4, 5]),
    ],
)
def test_read_gives_a_page(log: EventLog, after: int, limit: int, expected: list[int]) -> None:
    append_to(log, [entry("c") for _ in range(5)])
    append_to(log, [entry("another") for _ in range(9)])
    key = log.make(["c"])[0].key
    assert [each.seq for each in log.read(key, after, limit).records] == expected


def test_a_page_of_large_events_is_short_but_never_empty(log: EventLog) -> None:
    half = "x" * (PAGE_CHARACTERS // 2)
    data = ["small", half, half, half * 3, "small", half, "small"]
    append_to(log, [entry("c", each) for each in data])
    key = log.make(["c"])[0].key
    assert [each.seq for each in log.read(key, 0, 500).records] == [1, 2]
    assert [each.seq for each in log.read(key, 1, 500).records] == [2, 3]
    assert [each.seq for each in log.read(key, 3, 500).records] == [4]
    assert [each.seq for each in log.read(key, 4, 500).records] == [5, 6, 7]
    assert texts(log, "c") == data


def test_read_of_a_channel_that_is_not_there_is_empty(log: EventLog) -> None:
    key = log.make(["c"])[0].key
    assert log.read(key + 1000, 0, 10).records == []


# -- trim


def test_trim_by_count_keeps_the_newest(log: EventLog) -> None:
    append_to(log, [entry("c", str(number)) for number in range(1, 11)])
    append_to(log, [entry("another")])
    assert log.trim("c", count=4) == 6
    (head,) = log.make(["c"])
    assert (head.floor, head.head) == (6, 10)
    assert texts(log, "c") == ["7", "8", "9", "10"]
    assert len(everything(log, "another")) == 1


def test_trim_by_age_keeps_the_younger(log: EventLog) -> None:
    append_to(log, [entry("c") for _ in range(10)])
    age(log, "c", timedelta(days=3), 4)
    assert log.trim("c", age=timedelta(days=4)) == 0
    assert log.trim("c", age=timedelta(days=2)) == 4
    assert [each.seq for each in everything(log, "c")] == [5, 6, 7, 8, 9, 10]
    assert log.make(["c"])[0].floor == 4


@pytest.mark.parametrize(("old", "count", "floor"), [(4, 8, 4), (4, 3, 7), (10, 5, 10), (0, 20, 0)])
def test_trim_by_both_removes_what_either_does(
    log: EventLog, old: int, count: int, floor: int
) -> None:
    append_to(log, [entry("c") for _ in range(10)])
    age(log, "c", timedelta(days=3), old)
    assert log.trim("c", age=timedelta(days=2), count=count) == floor
    assert log.make(["c"])[0].floor == floor
    assert_dense(everything(log, "c"), floor + 1)


def test_trim_removes_nothing_without_a_limit_and_makes_no_channel(log: EventLog) -> None:
    append_to(log, [entry("c")])
    assert log.trim("c") == log.trim("d", count=0, age=timedelta(0)) == 0
    assert log.make(["c"])[0].floor == 0
    assert list(log.channels()) == ["c"]


def test_a_trimmed_channel_goes_on_counting(log: EventLog) -> None:
    append_to(log, [entry("c") for _ in range(5)])
    assert log.trim("c", count=0) == 5
    assert everything(log, "c") == []
    assert log.make(["c"])[0].head == log.make(["c"])[0].floor == 5
    append_to(log, [entry("c"), entry("c")])
    assert_dense(everything(log, "c"), 6)
    assert log.trim("c", count=1) == 1
    assert log.trim("c", count=1) == 0


def test_a_negative_limit_is_refused(log: EventLog) -> None:
    append_to(log, [entry("c")])
    with pytest.raises(ValueError, match="negative"):
        log.trim("c", count=-1)
    with pytest.raises(ValueError, match="negative"):
        log.trim("c", age=timedelta(seconds=-1))
    assert log.make(["c"])[0].floor == 0
    assert len(everything(log, "c")) == 1


def test_a_finished_channel_that_is_trimmed_stays_finished(log: EventLog) -> None:
    append_to(log, [entry("c"), terminal("c")])
    assert log.trim("c", count=0) == 2
    assert log.make(["c"])[0].state == State.DONE
    with pytest.raises(ChannelFinished):
        append_to(log, [entry("c")])


def test_a_reader_that_is_overtaken_by_a_trim_finds_the_floor_that_says_so(log: EventLog) -> None:
    total = 400
    (head,) = log.make(["c"])
    append_to(log, [entry("c") for _ in range(total)])

    def trim() -> int:
        return sum(log.trim("c", count=count) for count in range(total, 0, -20))

    def read() -> list[tuple[int, int]]:
        """Each hole the reader met: the position behind it, and the floor found after."""
        holes, cursor = [], 0
        while cursor < total:
            page = log.read(head.key, cursor, 3).records
            assert page, "the newest events are never trimmed"
            if page[0].seq != cursor + 1:
                holes.append((page[0].seq - 1, log.heads(["c"])["c"].floor))
            assert_dense(page, page[0].seq)
            cursor = page[-1].seq
        return holes

    results: list[Any] = in_threads(trim, read, read)
    removed, *readers = results
    assert removed == total - 20
    assert all(behind <= floor for holes in readers for behind, floor in holes)


@pytest.mark.parametrize(
    ("old", "count", "floor"), [(None, 3, 7), (4, None, 4), (4, 3, 7), (8, 3, 8), (None, 20, 2)]
)
def test_trim_floor_tells_what_trim_will_do(
    log: EventLog, old: int | None, count: int | None, floor: int
) -> None:
    append_to(log, [entry("c") for _ in range(10)])
    log.trim("c", count=8)
    age(log, "c", timedelta(days=3), old or 0)
    limits: Any = {"age": timedelta(days=2) if old else None, "count": count}
    (head,) = log.make(["c"])
    assert log.trim_floor(head, **limits) == floor
    assert log.make(["c"]) == [head]
    assert log.trim("c", **limits) == floor - 2
    assert log.make(["c"])[0].floor == floor


def test_now_is_the_clock_of_the_events(log: EventLog) -> None:
    (head,) = log.make(["c"])
    before = log.now(head)
    assert log.seq_before(head, before) == 0
    append_to(log, [entry("c")])
    after = log.now(head)
    (head,) = log.make(["c"])
    assert log.seq_before(head, before) == 0
    assert log.seq_before(head, after + timedelta(microseconds=1)) == 1


# -- the time of an event


def test_seq_before_tells_what_is_older_than_a_moment(log: EventLog) -> None:
    append_to(log, [entry("c") for _ in range(9)])
    age(log, "c", timedelta(days=3), 6)
    age(log, "c", timedelta(days=3), 2)
    (head,) = log.make(["c"])
    now = timezone.now()
    ages = [log.seq_before(head, now - timedelta(days=days)) for days in (9, 5, 4, 2, 1)]
    assert ages == [0, 2, 2, 6, 6]
    assert log.seq_before(head, now + timedelta(days=1)) == 9


def test_seq_before_is_never_below_the_floor(log: EventLog) -> None:
    append_to(log, [entry("c") for _ in range(9)])
    log.trim("c", count=3)
    (head,) = log.make(["c"])
    assert log.seq_before(head, timezone.now() - timedelta(days=1)) == 6
    log.trim("c", count=0)
    (head,) = log.make(["c"])
    assert log.seq_before(head, timezone.now() - timedelta(days=1)) == 9


# -- redact


def test_redact_leaves_an_empty_tombstone(log: EventLog) -> None:
    append_to(log, [entry("c", "secret", "type"), entry("c", "open")])
    before = log.make(["c"])[0].redactions
    assert log.redact("c", 1)
    assert everything(log, "c") == [Stored(1, "", "", Kind.REDACTED), Stored(2, "", "open")]
    assert log.make(["c"])[0].redactions == before + 1


def test_redact_tells_when_there_is_nothing_to_redact(log: EventLog) -> None:
    append_to(log, [entry("c") for _ in range(4)] + [terminal("c")])
    log.trim("c", count=3)
    assert log.redact("c", 3)
    for channel, seq in [("c", 3), ("c", 1), ("c", 0), ("c", 5), ("c", 6), ("c", -1), ("d", 1)]:
        assert not log.redact(channel, seq)
    assert log.make(["c"])[0].redactions == 1
    assert everything(log, "c")[-1].kind == Kind.TERMINAL


# -- tags: a position proves itself


def tags(log: EventLog, channel: str) -> list[str]:
    """The tags of the stored events, in order."""
    (head,) = log.make([channel])
    return [tag_of(each.nonce) for each in log.read(head.key, head.floor, 500).records]


def test_each_append_has_a_tag_of_its_own_and_its_events_share_it(log: EventLog) -> None:
    appended = [append_to(log, [entry("c"), entry("c")])[0] for _ in range(50)]
    found = tags(log, "c")
    assert found[::2] == found[1::2] == [each.position.tag for each in appended]
    assert len(set(found)) == 50


def test_ids_are_positions(log: EventLog) -> None:
    _, (ids,) = log.append_each([[entry("c"), entry("d"), entry("c")]])
    heads = log.heads(["c", "d"])
    assert isinstance(ids, list)
    assert ids[1:] == [str(heads["d"].position), str(heads["c"].position)]


def test_an_append_names_the_tag_of_the_event_before(log: EventLog) -> None:
    (first,) = append_to(log, [entry("c")])
    (second,) = append_to(log, [entry("c"), entry("c")])
    assert (first.before, second.before) == (NO_TAG, first.position.tag)


def test_a_page_tells_the_tag_of_the_event_before_it(log: EventLog) -> None:
    for _ in range(4):
        append_to(log, [entry("c"), entry("c")])
    (head,) = log.make(["c"])
    one = tags(log, "c")
    for limit in (1, 3, 500):
        assert [log.read(head.key, after, limit).tag for after in range(9)] == [NO_TAG, *one]
    assert [log.tag(head.key, seq) for seq in range(1, 10)] == [*one, None]
    assert log.read(head.key, 9, 3).tag is None


def test_the_floor_keeps_the_tag_of_what_was_trimmed_and_the_head_its_own(log: EventLog) -> None:
    for _ in range(6):
        append_to(log, [entry("c")])
    one = tags(log, "c")
    for count in (4, 4, 1, 0):
        log.trim("c", count=count)
        (head,) = log.make(["c"])
        assert head.start == (head.epoch, 6 - count, one[5 - count])
        assert head.position == (head.epoch, 6, one[5])
        assert log.read(head.key, head.floor, 9).tag is None
    (later,) = append_to(log, [entry("c")])
    assert later.before == one[5]


def test_a_redacted_event_keeps_its_tag(log: EventLog) -> None:
    append_to(log, [entry("c"), entry("c")])
    before = tags(log, "c")
    log.redact("c", 2)
    assert tags(log, "c") == before


def test_a_head_may_follow_what_is_before_it_and_itself(log: EventLog) -> None:
    append_to(log, [entry("c"), entry("c")])
    (head,) = log.make(["c"])
    assert head.may_follow(*head.position)
    assert head.may_follow(head.epoch, 2, None)
    assert head.may_follow(head.epoch, 1, "unread")
    assert not head.may_follow(head.epoch, 2, "other0")
    assert not head.may_follow(head.epoch, 3, None)
    assert not head.may_follow("another0000", 1, None)
