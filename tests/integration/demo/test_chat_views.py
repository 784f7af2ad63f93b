"""The room's page, its messages, and its stream."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import AsyncClient, Client

from demo_project.chat import views
from demo_project.chat.models import Message, Room
from django_sse import cursor
from django_sse.models import StoredEvent
from tests.integration.demo.streams import take
from tests.positions import seq_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def room() -> Room:
    room, _ = Room.objects.get_or_create(slug="lobby", defaults={"title": "Lobby"})
    return room


def attribute(page: str, name: str) -> str:
    match = re.search(rf'{name}="([^"]*)"', page)
    assert match, name
    return match[1]


@pytest.mark.parametrize("content_type", ["application/json", None])
def test_a_message_is_stored_published_and_answered_with_201(
    client: Client, room: Room, content_type: str | None
) -> None:
    options: dict[str, Any] = {"content_type": content_type} if content_type else {}
    response = client.post("/chat/lobby/messages/", {"text": " Hello\u2028there "}, **options)
    assert response.status_code == 201
    message = Message.objects.get()
    event = StoredEvent.objects.get()
    assert message.text == "Hello\u2028there"
    assert event.type == "usermessage"
    assert json.loads(event.data) == response.json()
    assert response.json().items() >= {"id": message.pk, "text": message.text}.items()
    assert set(response.json()) == {"id", "username", "time", "text"}


def test_a_message_that_cannot_be_published_is_not_stored(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise IntegrityError("the log refuses")

    monkeypatch.setattr(views, "publish", fail)
    with pytest.raises(IntegrityError):
        client.post("/chat/lobby/messages/", {"text": "hi"})
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be an object"),
        ("{}", "missing"),
        ('{"text": ""}', "empty"),
        ('{"text": "   "}', "empty"),
        ('{"text": 5}', "not text"),
        ('{"text": "a\\u0000b"}', "NUL"),
        ('{"text": "\\ud800"}', "surrogate"),
        (json.dumps({"text": "x" * 1001}), "the limit is 1000"),
    ],
)
def test_a_bad_message_is_refused_with_the_reason(
    client: Client, body: str, complaint: str
) -> None:
    response = client.post("/chat/lobby/messages/", body, content_type="application/json")
    assert response.status_code == 400
    assert complaint in response.json()["error"]
    assert not Message.objects.exists()
    assert not StoredEvent.objects.exists()


@pytest.mark.parametrize("path", ["", "events/", "messages/", "username/"])
def test_an_unknown_room_is_404_everywhere(client: Client, path: str) -> None:
    ask = client.post if path in {"messages/", "username/"} else client.get
    response = ask(f"/chat/nowhere/{path}")
    assert response.status_code == 404
    assert "There is no room called" in response.json()["error"]


@pytest.mark.parametrize("slug", ["no%20slug", "a%0d%0ab", "..%2f..", "caf%C3%A9"])
def test_what_is_no_slug_is_404(client: Client, slug: str) -> None:
    assert client.get(f"/chat/{slug}/").status_code == 404


def test_the_page_holds_history_and_the_cursor_before_it(client: Client, room: Room) -> None:
    client.post("/chat/lobby/messages/", {"text": "<b>bold</b>"})
    page = client.get("/chat/lobby/").content.decode()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold</b>" not in page
    assert attribute(page, "data-cursor") == cursor(room.channel)
    assert f'data-id="{Message.objects.get().pk}"' in page


def test_what_is_said_while_the_page_is_read_comes_twice_rather_than_never(
    client: Client, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = Room.history

    def with_a_late_message(self: Room, limit: int = 50) -> list[Message]:
        Client().post("/chat/lobby/messages/", {"text": "in between"})
        return history(self, limit)

    monkeypatch.setattr(Room, "history", with_a_late_message)
    page = client.get("/chat/lobby/").content.decode()
    assert "in between" in page
    seq = seq_of(attribute(page, "data-cursor"))
    assert StoredEvent.objects.filter(seq__gt=seq).count() == 1


def test_the_page_of_a_seat_carries_it_to_every_address(client: Client) -> None:
    page = client.get("/chat/lobby/?seat=b").content.decode()
    for name, path in {"events": "events", "messages": "messages", "rename": "username"}.items():
        assert attribute(page, f"data-{name}") == f"/chat/lobby/{path}/?seat=b"


def test_a_new_name_is_kept_and_used(client: Client) -> None:
    response = client.post(
        "/chat/lobby/username/", {"username": "Ada"}, content_type="application/json"
    )
    assert response.json() == {"username": "Ada"}
    assert client.post("/chat/lobby/messages/", {"text": "hi"}).json()["username"] == "Ada"


def test_a_bad_name_is_refused_with_the_reason(client: Client) -> None:
    response = client.post("/chat/lobby/username/", {"username": "x" * 25})
    assert response.status_code == 400
    assert "the limit is 24" in response.json()["error"]


def test_a_bad_seat_is_400(client: Client) -> None:
    assert client.get("/chat/lobby/?seat=%00").status_code == 400
    assert client.get("/chat/lobby/events/?seat=" + "x" * 99).status_code == 400


def test_chat_alone_leads_to_the_lobby(client: Client) -> None:
    assert client.get("/chat/", follow=True).request["PATH_INFO"] == "/chat/lobby/"


async def test_the_stream_opens_replays_and_tells_who_came(
    async_client: AsyncClient, room: Room
) -> None:
    page = (await async_client.get("/chat/lobby/")).content.decode()
    await async_client.post("/chat/lobby/messages/", {"text": "missed"})
    response = await async_client.get(
        "/chat/lobby/events/", {"last_event_id": attribute(page, "data-cursor")}
    )
    events = await take(response, 3)
    assert [event.type for event in events] == ["stream-open", "usermessage", "userconnect"]
    assert json.loads(events[1].data)["text"] == "missed"
    assert json.loads(events[2].data)["username"] == attribute(page, "data-username")


@pytest.mark.parametrize("position", ["nonsense", "aaaaaaaaaaa-1-tagtag", "1", "a-b-c", "é"])
async def test_a_position_that_is_not_ours_gets_one_reset_and_then_the_stream(
    async_client: AsyncClient, position: str
) -> None:
    response = await async_client.get("/chat/lobby/events/", {"last_event_id": position})
    events = await take(response, 3)
    assert [event.type for event in events].count("stream-reset") == 1
    assert events[-1].type == "userconnect"


async def test_an_over_long_position_is_400(async_client: AsyncClient) -> None:
    response = await async_client.get("/chat/lobby/events/", headers={"last-event-id": "a" * 5000})
    assert response.status_code == 400
