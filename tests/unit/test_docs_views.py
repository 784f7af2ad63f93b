"""The views that the documentation shows refuse who may not read, as it says."""

from __future__ import annotations

import doctest
import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.test import AsyncClient, Client
from django.urls import path

from django_sse import ChannelStreamView
from django_sse.testing import MessageEvent, aread
from tests import ROOT

# Models of Django's that have what those of the examples have, and their columns.
MODELS = {"Order": LogEntry, "Room": Group}
COLUMNS = {"owner=": "user=", "members=": "user="}


def shown(page: str, name: str) -> Any:
    """What a page shows under `name`."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (block,) = (block for block in blocks if f"def {name}(" in block or f"class {name}(" in block)
    return defined(block, name)


def shown_by(view: type, name: str) -> Any:
    """What the docstring of `view` shows under `name`."""
    examples = doctest.DocTestParser().get_examples(view.__doc__ or "")
    return defined("".join(each.source for each in examples), name, view)


def defined(source: str, name: str, *imported: type) -> Any:
    for documented, ours in COLUMNS.items():
        source = source.replace(documented, ours)
    namespace: dict[str, Any] = {"__name__": "shown", **MODELS}
    namespace |= {each.__name__: each for each in imported}
    exec(source, namespace)
    return namespace[name]


urlpatterns = [
    path("order_events/<int:pk>/", shown("docs/streams.md", "order_events")),
    path("room/<int:pk>/", shown("docs/channels.md", "room")),
    path("RoomEvents/<int:pk>/", shown("docs/channels.md", "RoomEvents").as_view()),
    path("OrderEvents/<int:pk>/", shown_by(ChannelStreamView, "OrderEvents").as_view()),
]
# What who is not logged in gets, and what somebody else.
REFUSALS = {
    "order_events": (302, 404),
    "room": (302, 404),
    "RoomEvents": (403, 403),
    "OrderEvents": (403, 403),
}


@pytest.fixture
def client(db: None, settings: Any) -> Client:
    settings.ROOT_URLCONF = __name__
    return Client(raise_request_exception=False)


@pytest.fixture
def owner(db: None) -> User:
    """Owns the order 1 and is in the room 1."""
    user = User.objects.create_user("owner")
    user.groups.add(Group.objects.create(pk=1))
    LogEntry.objects.create(pk=1, user=user, action_flag=CHANGE, object_repr="order")
    return user


@pytest.mark.parametrize("name", REFUSALS)
def test_who_is_not_logged_in_is_refused(name: str, client: Client, owner: User) -> None:
    assert client.get(f"/{name}/1/").status_code == REFUSALS[name][0]


@pytest.mark.parametrize("name", REFUSALS)
def test_somebody_else_is_refused(name: str, client: Client, owner: User) -> None:
    client.force_login(User.objects.create_user("stranger"))
    assert client.get(f"/{name}/1/").status_code == REFUSALS[name][1]


@pytest.mark.parametrize("name", REFUSALS)
def test_who_may_read_gets_the_stream(name: str, client: Client, owner: User) -> None:
    async def visit() -> list[MessageEvent]:
        visitor = AsyncClient()
        await visitor.aforce_login(owner)
        return await aread(await visitor.get(f"/{name}/1/"), 1, opening=True)

    # On the test's own thread, as in a TestCase: another one would wait for its transaction.
    (event,) = async_to_sync(visit)()
    assert event.type == "stream-open"
