from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_sse.exceptions import LogUnavailable
from django_sse.hub.position import Settled, check_since, settle
from django_sse.log.empty import newest_minute
from django_sse.wire import Cursor, make_epoch
from tests.unit.hub.support import WatchedLog, commit_elsewhere, end, numbers, watched_log


@pytest.fixture
def ten(log: WatchedLog) -> WatchedLog:
    """A log whose channel "a" has ten events."""
    commit_elsewhere("a", *numbers(1, 10))
    return log


def at(log: WatchedLog, channel: str, seq: int) -> str:
    return str(log.position(channel, seq))


def seqs(settled: Settled) -> list[int]:
    """Where the stream begins in each channel, with the tag of that event."""
    log = watched_log()
    found = [position.seq for position in settled.positions]
    channels = [head.channel for head in settled.heads]
    assert settled.positions == list(map(log.position, channels, found))
    return found


def only(settled: Settled) -> tuple[int, str]:
    """Seq and reason of a stream of one channel."""
    (seq,) = seqs(settled)
    return seq, settled.resets.get(0, "")


# -- a client that brings nothing


@pytest.mark.parametrize(
    ("since", "cursor"),
    [("now", 10), ("earliest", 0), (0, 10), (3, 7), (10, 0), (11, 0), (10**9, 0)],
)
def test_a_new_client_begins_where_since_says(ten: WatchedLog, since: Any, cursor: int) -> None:
    assert only(settle(ten, ["a"], None, since)) == (cursor, "")


@pytest.mark.parametrize(("since", "cursor"), [("earliest", 6), (3, 7), (9, 6)])
def test_a_new_client_begins_at_what_is_still_stored(
    ten: WatchedLog, since: Any, cursor: int
) -> None:
    ten.trim("a", count=4)
    assert only(settle(ten, ["a"], None, since)) == (cursor, "")


def test_a_new_client_begins_at_a_moment(ten: WatchedLog) -> None:
    between = timezone.now()
    commit_elsewhere("a", "11")
    assert only(settle(ten, ["a"], None, between)) == (10, "")
    assert only(settle(ten, ["a"], None, between - timedelta(hours=1))) == (0, "")
    assert only(settle(ten, ["a"], None, between + timedelta(hours=1))) == (11, "")


def test_since_may_be_a_cursor(ten: WatchedLog) -> None:
    text = at(ten, "a", 4)
    assert only(settle(ten, ["a"], None, text)) == (4, "")
    assert only(settle(ten, ["a"], None, Cursor.parse(text))) == (4, "")


@pytest.mark.parametrize("since", ["now", "earliest", 5, datetime.now(UTC)])
def test_a_channel_without_a_row_has_a_position_and_gets_no_row(
    log: WatchedLog, since: Any
) -> None:
    settled = settle(log, ["new"], None, since)
    assert only(settled) == (0, "")
    assert newest_minute("new", [settled.positions[0].epoch]) is not None
    assert log.channels() == []


# -- a client that brings a position


@pytest.mark.parametrize("seq", [0, 1, 9, 10])
def test_a_client_goes_on_where_it_was(ten: WatchedLog, seq: int) -> None:
    assert only(settle(ten, ["a"], at(ten, "a", seq), "now")) == (seq, "")


def test_what_the_client_brings_goes_before_since(ten: WatchedLog) -> None:
    for since in ("now", "earliest", 2, timezone.now(), at(ten, "a", 8)):
        assert only(settle(ten, ["a"], at(ten, "a", 4), since)) == (4, "")


def test_a_position_at_the_floor_misses_nothing(ten: WatchedLog) -> None:
    ten.trim("a", count=4)
    assert only(settle(ten, ["a"], at(ten, "a", 6), "now")) == (6, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "4",
        "-",
        "a-4-tagtag",
        "!end",
        "\x00",
        "é",
        "💥",
        "abcdefghijk-04-tagtag",
        "abcdefghijk-+4-tagtag",
        "abcdefghijk--4-tagtag",
        "abcdefghijk-4-tagtag.",
        "abcdefghijk-4-tagtag,abcdefghijk-4-tagtag",
        "abcdefghijk-٤-tagtag",
        "ABCDEFGHIJK-4-tagtag",
        "abcdefghijk-99999999999999999999-tagtag",
        "abcdefghijk-4-tagtag\n",
        "abcdefghijk-4-tagtag" * 200,
        "abcdefghijk-4",
        "abcdefghijk-4-0",
        "abcdefghijk-4-tagta",
        "abcdefghijk-4-TAGTAG",
        "abcdefghijk-0-tagtag",
    ],
)
def test_a_position_that_makes_no_sense_is_malformed(ten: WatchedLog, text: str) -> None:
    assert only(settle(ten, ["a"], text, "now")) == (10, "malformed")
    if text not in ("now", "earliest"):
        assert only(settle(ten, ["a"], None, text)) == (10, "malformed")


def test_a_position_of_another_channel_or_log_is_unknown(ten: WatchedLog) -> None:
    commit_elsewhere("b", *numbers(1, 10))
    for epoch in (ten.epoch("b"), make_epoch()):
        assert only(settle(ten, ["a"], f"{epoch}-4-tagtag", "now")) == (10, "unknown")


def test_a_position_in_a_log_that_was_wiped_is_unknown(ten: WatchedLog) -> None:
    before = at(ten, "a", 4)
    ten.clear()
    commit_elsewhere("a", *numbers(1, 10))
    assert only(settle(ten, ["a"], before, "now")) == (10, "unknown")


@pytest.mark.parametrize("seq", [8, 9, 10])
@pytest.mark.parametrize("later", [0, 5])
def test_a_position_in_a_log_that_was_rewound_and_written_again_is_rewound(
    ten: WatchedLog, seq: int, later: int
) -> None:
    before = at(ten, "a", seq)
    ten.rewrite("a", 3, *numbers(1, 3 + later))
    assert only(settle(ten, ["a"], before, "now")) == (10 + later, "rewound")


@pytest.mark.parametrize("seq", [0, 1, 7])
def test_a_position_before_what_was_written_again_goes_on(ten: WatchedLog, seq: int) -> None:
    before = at(ten, "a", seq)
    ten.rewrite("a", 3, *numbers(1, 3))
    assert only(settle(ten, ["a"], before, "now")) == (seq, "")


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("seq", [9, 10])
def test_a_position_at_the_floor_or_the_head_of_another_log_is_rewound(
    ten: WatchedLog, kept: int, seq: int
) -> None:
    before = at(ten, "a", seq)
    ten.rewrite("a", 3, *numbers(1, 3))
    ten.trim("a", count=kept)
    reason = "trimmed" if seq < 10 - kept else "rewound"
    assert only(settle(ten, ["a"], before, "now")) == (10, reason)


def test_a_position_of_a_redacted_event_is_its_own_still(ten: WatchedLog) -> None:
    before = at(ten, "a", 8)
    ten.redact("a", 8)
    assert only(settle(ten, ["a"], before, "now")) == (8, "")
    ten.rewrite("a", 3, *numbers(1, 3))
    ten.redact("a", 8)
    assert only(settle(ten, ["a"], before, "now")) == (10, "rewound")


def test_a_position_at_either_end_is_judged_by_the_head_alone(ten: WatchedLog) -> None:
    ten.trim("a", count=4)
    for seq in (6, 10):
        settle(ten, ["a"], at(ten, "a", seq), "now")
    assert ten.tags_asked == []
    settle(ten, ["a"], at(ten, "a", 8), "now")
    assert ten.tags_asked == [8]


def test_a_position_that_is_trimmed_while_it_is_judged_is_trimmed(ten: WatchedLog) -> None:
    before = at(ten, "a", 5)
    ten.missing = {5}
    assert only(settle(ten, ["a"], before, "now")) == (10, "trimmed")


@pytest.mark.parametrize(("tag", "reason"), [("", ""), ("tagtag", "rewound")])
def test_a_position_that_becomes_the_floor_while_it_is_judged_misses_nothing(
    ten: WatchedLog, tag: str, reason: str
) -> None:
    position = ten.position("a", 8)
    ten.on_tag = lambda: ten.trim("a", count=2)
    brought = str(position._replace(tag=tag or position.tag))
    assert only(settle(ten, ["a"], brought, "now")) == (10 if reason else 8, reason)


@pytest.mark.parametrize("since", [5, "moment"])
def test_a_beginning_that_is_trimmed_while_it_is_looked_up_is_at_the_floor(
    ten: WatchedLog, since: Any
) -> None:
    if since == "moment":
        since = timezone.now()
        commit_elsewhere("a", *numbers(11, 15))
    ten.on_tag = lambda: ten.trim("a", count=2)
    head = 10 if since == 5 else 15
    assert only(settle(ten, ["a"], None, since)) == (head - 2, "")


def test_a_position_below_the_floor_is_trimmed(ten: WatchedLog) -> None:
    ten.trim("a", count=4)
    assert only(settle(ten, ["a"], at(ten, "a", 5), "now")) == (10, "trimmed")


@pytest.mark.parametrize("seq", [11, 2**63 - 1])
def test_a_position_beyond_the_head_is_rewound(ten: WatchedLog, seq: int) -> None:
    assert only(settle(ten, ["a"], at(ten, "a", seq), "now")) == (10, "rewound")


def test_a_log_that_is_away_is_said_so(log: WatchedLog) -> None:
    log.away = True
    with pytest.raises(LogUnavailable):
        settle(log, ["a"], None, "now")


# -- several channels


@pytest.fixture
def three(ten: WatchedLog) -> WatchedLog:
    commit_elsewhere("b", *numbers(1, 20))
    commit_elsewhere("c", *numbers(1, 30))
    return ten


def test_each_channel_goes_on_where_it_was(three: WatchedLog) -> None:
    text = ".".join([at(three, "a", 1), at(three, "b", 2), at(three, "c", 3)])
    assert seqs(settle(three, ["a", "b", "c"], text, "now")) == [1, 2, 3]


def test_the_order_of_the_channels_may_change(three: WatchedLog) -> None:
    text = ".".join([at(three, "c", 3), at(three, "a", 1), at(three, "b", 2)])
    settled = settle(three, ["b", "c", "a"], text, "now")
    assert (seqs(settled), settled.resets) == ([2, 3, 1], {})


def test_a_channel_the_client_did_not_have_is_reset_and_the_others_go_on(
    three: WatchedLog,
) -> None:
    text = ".".join([at(three, "c", 3), at(three, "a", 1)])
    settled = settle(three, ["a", "b", "c"], text, "now")
    assert (seqs(settled), settled.resets) == ([1, 20, 3], {1: "unknown"})


def test_a_channel_that_is_no_longer_asked_for_is_left_out(three: WatchedLog) -> None:
    text = ".".join([at(three, "c", 3), at(three, "a", 1)])
    settled = settle(three, ["a"], text, "now")
    assert (seqs(settled), settled.resets) == ([1], {})


def test_each_channel_has_a_reason_of_its_own(three: WatchedLog) -> None:
    three.trim("b", count=1)
    text = ".".join([at(three, "a", 11), at(three, "b", 2), at(three, "c", 3)])
    settled = settle(three, ["a", "b", "c"], text, "now")
    assert seqs(settled) == [10, 20, 3]
    assert settled.resets == {0: "rewound", 1: "trimmed"}


def test_a_malformed_position_resets_every_channel(three: WatchedLog) -> None:
    settled = settle(three, ["a", "b"], "nonsense", "now")
    assert settled.resets == {0: "malformed", 1: "malformed"}


# -- the end


def test_a_client_that_has_everything_of_a_finished_channel_is_finished(ten: WatchedLog) -> None:
    end("a")
    assert settle(ten, ["a"], at(ten, "a", 11), "now").finished
    assert settle(ten, ["a"], None, "now").finished


def test_a_client_that_has_not_seen_the_end_is_not_finished(ten: WatchedLog) -> None:
    end("a")
    assert not settle(ten, ["a"], at(ten, "a", 10), "now").finished
    assert not settle(ten, ["a"], None, "earliest").finished


def test_a_client_that_has_to_be_told_of_a_reset_is_not_finished(ten: WatchedLog) -> None:
    end("a")
    assert not settle(ten, ["a"], "nonsense", "now").finished


def test_several_channels_are_finished_when_the_last_is(three: WatchedLog) -> None:
    end("a")
    assert not settle(three, ["a", "b"], None, "now").finished
    end("b")
    assert settle(three, ["a", "b"], None, "now").finished


# -- since


@pytest.mark.parametrize("since", ["now", "earliest", "x-1", 0, 5, datetime.now(UTC)])
def test_what_since_may_be(since: Any) -> None:
    check_since(since)


@pytest.mark.parametrize("since", [None, 1.5, True, [], b"now"])
def test_a_since_of_another_type_is_refused(since: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(since).__name__}"):
        check_since(since)


def test_a_negative_number_of_events_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        check_since(-1)


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_moment_that_the_projects_own_cannot_be_compared_with_is_refused(
    use_tz: bool, settings: Any
) -> None:
    settings.USE_TZ = use_tz
    aware, naive = datetime.now(UTC), datetime.now()
    check_since(aware if use_tz else naive)
    with pytest.raises(ValueError, match=f"USE_TZ is {use_tz}"):
        check_since(naive if use_tz else aware)
