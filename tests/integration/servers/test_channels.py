"""Channels over HTTP: live, replayed after a position, several on one stream, and to their end."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from django_sse.wire import MessageEvent
from django_sse.wire.cursor import MAX_CHANNELS, is_empty
from tests.integration.servers.client import Headers, Stream, get
from tests.integration.servers.kinds import every_kind
from tests.integration.servers.notes import Notes
from tests.servers import Server

FOREIGN = "zzzzzzzzzzz-1-tagtag"
# Numbers of 19 digits, the most that there are, with room for some events after them.
FAR = 10**18
OF_CHANNEL = "channel_id IN (SELECT id FROM django_sse_channel WHERE name LIKE ?)"


def publish(server: Server, channel: str, data: str, query: str = "") -> str:
    """Publishes in the server's process; the event's id."""
    status, body = get(server, f"/publish/{channel}/{query}", method="POST", data=data.encode())
    assert status == 200
    return str(json.loads(body)["id"])


def listen(server: Server, channels: str, position: str | None = None, query: str = "") -> Stream:
    headers: Headers = {} if position is None else {"Last-Event-ID": position}
    return Stream(server, f"/channels/{channels}/{query}", headers=headers)


def data_of(events: list[MessageEvent]) -> list[str]:
    return [event.data for event in events]


@every_kind
@pytest.mark.parametrize("view", ["channels", "channels_sync", "channels_with_orm"])
def test_a_stream_opens_with_its_position_and_goes_on_live(
    server: Server, name: str, view: str
) -> None:
    before = publish(server, name, "before")
    with Stream(server, f"/{view}/{name}/") as stream:
        opening = stream.next()
        assert (opening.type, opening.data) == ("stream-open", "{}")
        assert opening.last_event_id == before
        assert stream.retry == 3000
        sent = publish(server, name, "one\ntwo \u2028 three \U0001f600", "?event=note")
        event = stream.next()
        assert event == MessageEvent("note", "one\ntwo \u2028 three \U0001f600", sent)
        get(server, f"/apublish/{name}/", method="POST", data=b"by a coroutine")
        assert stream.next().data == "by a coroutine"


@every_kind
@pytest.mark.parametrize("how", ["header", "last_event_id", "lastEventId"])
def test_a_client_that_comes_back_gets_what_it_missed_and_goes_on(
    server: Server, name: str, how: str
) -> None:
    ids = [publish(server, name, str(number)) for number in range(5)]
    position, query = (ids[1], "") if how == "header" else (None, f"?{how}={ids[1]}")
    with listen(server, name, position, query) as stream:
        opening, *replayed = stream.take(4)
        assert (opening.type, opening.last_event_id) == ("stream-open", ids[1])
        assert [(e.data, e.last_event_id) for e in replayed] == [
            (str(number), ids[number]) for number in (2, 3, 4)
        ]
        publish(server, name, "live")
        assert stream.next().data == "live"


@every_kind
def test_a_client_that_was_cut_before_its_first_event_misses_nothing(
    server: Server, name: str
) -> None:
    publish(server, name, "long ago")
    with listen(server, name) as stream:
        position = stream.next().last_event_id
    publish(server, name, "meanwhile")
    with listen(server, name, position) as stream:
        assert data_of(stream.take(2)) == ["{}", "meanwhile"]


@every_kind
def test_several_channels_share_a_stream_and_each_is_resumed(server: Server, name: str) -> None:
    first, second = f"{name}-a", f"{name}-b"
    with listen(server, f"{first}+{second}") as stream:
        stream.next()
        publish(server, first, "a1")
        event = stream.next()
        assert event.data == "a1"
        position = event.last_event_id
        # The second channel has no event yet.
        a1, _, empty = position.partition(".")
        assert is_empty(empty)
    b1 = publish(server, second, "b1")
    publish(server, first, "a2")
    with listen(server, f"{first}+{second}", position) as stream:
        opening, *missed = stream.take(3)
        assert opening.last_event_id == f"{a1}.{b1.partition('-')[0]}-0-0"
        assert sorted(data_of(missed)) == ["a2", "b1"]
        publish(server, second, "b2")
        last = stream.next()
        assert last.data == "b2"
    with listen(server, f"{first}+{second}", last.last_event_id) as stream:
        assert stream.next().type == "stream-open"
        publish(server, first, "a3")
        assert stream.next().data == "a3"


@every_kind
@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("nonsense", "malformed"),
        ("größe-1-tagtag", "malformed"),
        ("'; DROP TABLE django_sse_channel; --", "malformed"),
        ("1", "malformed"),
        ("x" * 1280, "malformed"),
        (FOREIGN, "unknown"),
    ],
)
def test_a_position_that_is_not_ours_is_reset_once_and_goes_on_live(
    server: Server, name: str, position: str, reason: str
) -> None:
    sent = publish(server, name, "before")
    with Stream(
        server, f"/channels/{name}/", headers={"Last-Event-ID": position.encode()}
    ) as stream:
        reset, opening = stream.take(2)
        assert reset.type == "stream-reset"
        assert json.loads(reset.data) == {"reason": reason, "channels": [0]}
        assert reset.last_event_id == sent
        assert opening.type == "stream-open"
        publish(server, name, "live")
        assert (stream.next().data, stream.body.count(b"stream-reset")) == ("live", 1)


@every_kind
def test_a_position_beyond_the_head_is_reset(server: Server, name: str) -> None:
    epoch = publish(server, name, "only").partition("-")[0]
    with listen(server, name, f"{epoch}-1000-tagtag") as stream:
        reset, _ = stream.take(2)
        assert json.loads(reset.data) == {"reason": "rewound", "channels": [0]}
        publish(server, name, "live")
        assert stream.next().data == "live"


@every_kind
def test_a_header_that_comes_twice_is_a_position_of_nobody(server: Server, name: str) -> None:
    sent = publish(server, name, "before")
    twice = [("Last-Event-ID", sent), ("Last-Event-ID", sent)]
    with Stream(server, f"/channels/{name}/", headers=twice) as stream:
        assert [event.type for event in stream.take(2)] == ["stream-reset", "stream-open"]
        publish(server, name, "live")
        assert stream.next().data == "live"


@every_kind
def test_an_empty_position_is_none(server: Server, name: str) -> None:
    publish(server, name, "before")
    with listen(server, name, "", "?last_event_id=") as stream:
        assert stream.next().type == "stream-open"
        publish(server, name, "live")
        assert (stream.next().data, stream.body.count(b"stream-reset")) == ("live", 0)


@every_kind
def test_since_is_for_those_who_bring_no_position(server: Server, name: str) -> None:
    ids = [publish(server, name, str(number)) for number in range(3)]
    with listen(server, name, query="?since=earliest") as stream:
        assert data_of(stream.take(4)[1:]) == ["0", "1", "2"]
    with listen(server, name, query="?since=2") as stream:
        assert data_of(stream.take(3)[1:]) == ["1", "2"]
    with listen(server, name, ids[2], "?since=earliest") as stream:
        stream.next()
        publish(server, name, "live")
        assert stream.next().data == "live"


@every_kind
def test_a_channel_that_has_finished_ends_its_streams_and_answers_204(
    server: Server, name: str
) -> None:
    publish(server, name, "only")
    with listen(server, name, query="?since=earliest") as stream:
        assert data_of(stream.take(2)) == ["{}", "only"]
        assert get(server, f"/streams/finish/{name}/", method="POST") == (200, b"True")
        (end,) = stream
        assert (end.type, end.data) == ("close", "[DONE]")
    assert get(server, f"/streams/finish/{name}/", method="POST") == (200, b"False")
    with listen(server, name, end.last_event_id) as stream:
        assert (stream.status, stream.read()) == (204, b"")
        assert stream.header("Cache-Control") == "no-store"
    with listen(server, name, query="?since=earliest") as stream:
        assert data_of(list(stream)) == ["{}", "only", "[DONE]"]


@every_kind
def test_a_response_by_hand_resumes_too(server: Server, name: str) -> None:
    ids = [publish(server, name, str(number)) for number in range(3)]
    path = f"/streams/by_hand/{name}/"
    with Stream(server, path, headers={"Last-Event-ID": ids[0]}) as stream:
        assert data_of(stream.take(3)) == ["{}", "1", "2"]


@every_kind
@pytest.mark.parametrize("view", ["publishes", "publishes_sync", "publishes_from_a_sync_view"])
def test_a_generator_may_publish(server: Server, name: str, view: str) -> None:
    with listen(server, name) as listener:
        listener.next()
        with Stream(server, f"/streams/{view}/?name={name}") as stream:
            *ids, _end = (event.data for event in stream)
        events = listener.take(3)
    assert [event.last_event_id for event in events] == ids
    assert data_of(events) == ['{"number":0}', '{"number":1}', '{"number":2}']


@every_kind
def test_the_hooks_tell_of_an_opening_and_of_a_client_that_left(
    server: Server, notes: Notes, name: str
) -> None:
    opened, closed = notes.count("opened"), notes.count("closed")
    with Stream(server, f"/channels_noting/{name}/") as stream:
        stream.next()
        notes.wait_for("opened", opened + 1)
        assert notes.count("closed") == closed
    notes.wait_for("closed", closed + 1)


@every_kind
def test_permission_is_asked_at_every_connect(server: Server, name: str) -> None:
    path = f"/members/{name}/"
    sent = publish(server, f"room-{name}", "secret")
    for headers in ({}, {"Last-Event-ID": sent}, {"Last-Event-ID": "nonsense"}):
        status, body = get(server, path, headers=headers)
        assert status == 403
        assert b"secret" not in body
    publish(server, f"room-{name}", "for friends")
    headers = {"Last-Event-ID": sent}
    with Stream(server, f"{path}?password=friend", headers=headers) as stream:
        assert data_of(stream.take(2)) == ["{}", "for friends"]


@every_kind
def test_a_sync_permission_may_ask_the_database(server: Server, name: str) -> None:
    path = f"/members_sync/?name={name}"
    assert get(server, path)[0] == 403
    assert get(server, f"/streams/make_users/?names={name}", method="POST")[0] == 200
    with Stream(server, path) as stream:
        assert stream.next().type == "stream-open"


@every_kind
def test_the_longest_position_of_the_most_channels_comes_back_whole(
    server: Server, name: str
) -> None:
    names = [f"{name}-{number}" for number in range(MAX_CHANNELS)]
    for each in names:
        publish(server, each, "first")
    with closing(sqlite3.connect(server.database, timeout=60)) as database, database:
        mine, far = f"{name}-%", f"+ {FAR}"
        channels = f"UPDATE django_sse_channel SET head = head {far}, floor = floor {far}"
        database.execute(f"{channels} WHERE name LIKE ?", [mine])
        events = f"UPDATE django_sse_storedevent SET seq = seq {far} WHERE {OF_CHANNEL}"
        database.execute(events, [mine])
    with listen(server, "+".join(names)) as stream:
        position = stream.next().last_event_id
        assert len(position) == 32 * (11 + 1 + 19 + 1 + 6 + 1) - 1
    publish(server, names[-1], "meanwhile")
    for last_event_id, query in ((position, ""), (None, f"?last_event_id={position}")):
        with listen(server, "+".join(names), last_event_id, query) as stream:
            opening, missed = stream.take(2)
            assert (opening.last_event_id, missed.data) == (position, "meanwhile")
            assert len(missed.last_event_id) == len(position)
