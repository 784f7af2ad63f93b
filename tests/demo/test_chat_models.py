"""Who is here, as far as connects and disconnects tell."""

from __future__ import annotations

import json
import threading

import pytest
from django.db import connections

from demo_project.chat.models import Participant, Room
from django_sse.models import StoredEvent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room() -> Room:
    # A transactional test empties the tables at its end, and the rooms of the migration with them.
    room, _ = Room.objects.get_or_create(slug="lobby", defaults={"title": "Lobby"})
    return room


def announced(room: Room) -> list[tuple[str, str]]:
    stored = StoredEvent.objects.filter(channel__name=room.channel).order_by("seq")
    return [(event.type, json.loads(event.data)["username"]) for event in stored]


def test_the_first_connection_of_a_name_is_announced_and_the_last_one(room: Room) -> None:
    room.join("Ada")
    room.join("Ada")
    room.leave("Ada")
    assert announced(room) == [("userconnect", "Ada")]
    assert room.usernames() == ["Ada"]
    room.leave("Ada")
    assert announced(room) == [("userconnect", "Ada"), ("userdisconnect", "Ada")]
    assert room.usernames() == []


def test_an_announcement_carries_name_time_and_text(room: Room) -> None:
    room.join("Ada")
    data = json.loads(StoredEvent.objects.get().data)
    assert set(data) == {"username", "time", "text"}


def test_names_are_counted_apart_and_listed_in_order(room: Room) -> None:
    for name in ("Grace", "Ada"):
        room.join(name)
    assert room.usernames() == ["Ada", "Grace"]


def test_a_leave_that_overtakes_its_join_leaves_nobody_behind(room: Room) -> None:
    room.leave("Ada")
    assert room.usernames() == []
    room.join("Ada")
    assert room.usernames() == []
    assert not Participant.objects.exists()
    assert announced(room) == []


def test_many_windows_at_once_are_announced_once(room: Room) -> None:
    start = threading.Barrier(8)

    def connect() -> None:
        try:
            start.wait()
            room.join("Ada")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Participant.objects.get().connections == 8
    assert announced(room) == [("userconnect", "Ada")]


def test_the_history_is_the_newest_messages_oldest_first(room: Room) -> None:
    for number in range(5):
        room.messages.create(username="Ada", text=str(number))
    assert [message.text for message in room.history(limit=3)] == ["2", "3", "4"]
