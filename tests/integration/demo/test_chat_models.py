"""Who is here, as far as connects and disconnects tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from django.db import connections

from demo_project.chat.models import Participant, Room
from demo_project.chat.processes import is_running, this_process
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


def dead_process() -> str:
    """The name of a process that has run and ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return f"{process.pid}-0000"


def test_who_was_in_a_process_that_died_is_gone_when_the_next_one_comes(room: Room) -> None:
    dead = dead_process()
    room.join("Survivor")
    for name in ("Ghost", "Survivor", "Ada"):
        room.participants.create(username=name, process=dead, connections=2)
    room.join("Ada")
    assert room.usernames() == ["Ada", "Survivor"]
    assert announced(room) == [
        ("userconnect", "Survivor"),
        ("userdisconnect", "Ada"),
        ("userdisconnect", "Ghost"),
        ("userconnect", "Ada"),
    ]


def test_a_name_in_two_processes_is_here_until_it_left_both(room: Room) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        other_process = f"{other.pid}-0000"
        room.participants.create(username="Ada", process=other_process, connections=1)
        room.join("Ada")
        room.leave("Ada")
        assert room.usernames() == ["Ada"]
        assert announced(room) == []
        other.communicate()
    room.join("Grace")
    assert room.usernames() == ["Grace"]
    assert announced(room) == [("userdisconnect", "Ada"), ("userconnect", "Grace")]


def test_a_process_is_not_taken_for_an_earlier_one_of_the_same_number() -> None:
    assert is_running(this_process())
    assert not is_running(f"{os.getpid()}-0000")


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
