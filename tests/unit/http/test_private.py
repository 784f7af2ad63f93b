"""Which streams a shared cache must not store: those whose view asked who the client is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.urls import path

from django_sse import ChannelStreamView, EventStreamResponse, event_stream, subscribe
from django_sse.http.headers import PRIVATE, PUBLIC, stream_headers
from tests.unit.http.support import asgi_request
from tests.unit.runs.conftest import configure

__all__ = ["configure"]

pytestmark = [pytest.mark.usefixtures("configure"), pytest.mark.django_db(transaction=True)]


@event_stream
async def public(request: HttpRequest) -> Any:
    return subscribe("news")


@event_stream
def public_generator(request: HttpRequest) -> Iterator[str]:
    yield "token"


@login_required
@event_stream
async def decorated(request: HttpRequest) -> Any:
    return subscribe("room")


@event_stream
async def asks(request: HttpRequest) -> Any:
    return subscribe(f"user-{(await request.auser()).pk}")


@event_stream
def asks_in_a_thread(request: HttpRequest) -> Any:
    return subscribe(f"user-{request.user.pk}")


@event_stream
async def reads_the_session(request: HttpRequest) -> Any:
    return subscribe(f"cart-{await request.session.aget('cart', 1)}")


@event_stream
async def generator(request: HttpRequest) -> AsyncIterator[str]:
    yield (await request.auser()).username


@event_stream
def generator_in_a_thread(request: HttpRequest) -> Iterator[str]:
    yield request.user.username


def undecorated(request: HttpRequest) -> Any:
    return EventStreamResponse([request.user.username], request=request)


class Room(ChannelStreamView):
    channels = ("room",)

    async def has_permission(self) -> bool:
        user: Any = await self.request.auser()
        return bool(user.is_authenticated)


@event_stream
def with_its_own(request: HttpRequest) -> Any:
    source = [request.user.username]
    return EventStreamResponse(source, request=request, headers={"Cache-Control": "public"})


PUBLIC_VIEWS = [public, public_generator]
PERSONAL_VIEWS = [
    decorated,
    asks,
    asks_in_a_thread,
    reads_the_session,
    generator,
    generator_in_a_thread,
    undecorated,
]
urlpatterns: list[Any] = [
    *(path(f"{view.__name__}/", view) for view in [*PUBLIC_VIEWS, *PERSONAL_VIEWS, with_its_own]),
    path("room/", Room.as_view()),
]


@pytest.fixture(autouse=True)
def urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


async def cache_control(name: str, **headers: str) -> str:
    """The header that a user who is logged in gets."""
    client = AsyncClient()
    user, _ = await User.objects.aget_or_create(username="anna")
    await client.aforce_login(user)
    response = await client.get(f"/{name}/", headers=headers)
    response.close()
    assert response.status_code == 200
    return response["Cache-Control"]


@pytest.mark.parametrize("name", [view.__name__ for view in PUBLIC_VIEWS])
async def test_a_view_that_asks_for_nobody_is_public_whoever_the_client_is(name: str) -> None:
    assert await cache_control(name) == PUBLIC
    assert await cache_control(name, Authorization="Bearer 1") == PRIVATE


@pytest.mark.parametrize("name", ["room", *(view.__name__ for view in PERSONAL_VIEWS)])
async def test_a_view_that_asks_who_the_client_is_is_private(name: str) -> None:
    assert await cache_control(name) == PRIVATE


def test_it_is_private_under_wsgi_too() -> None:
    client = Client()
    client.force_login(User.objects.create(username="anna"))
    for view in (asks_in_a_thread, generator_in_a_thread):
        response = client.get(f"/{view.__name__}/")
        response.close()
        assert response["Cache-Control"] == PRIVATE


async def test_what_the_view_says_itself_stays() -> None:
    assert await cache_control("with_its_own") == "public"


@pytest.mark.parametrize(("user", "expected"), [(User(), PRIVATE), (AnonymousUser(), PUBLIC)])
def test_a_user_that_a_middleware_set_without_a_session_is_a_user(user: Any, expected: str) -> None:
    request = asgi_request()
    request.user = user
    assert stream_headers(request)["Cache-Control"] == expected
