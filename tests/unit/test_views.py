from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseForbidden,
    HttpResponseRedirect,
)
from django.test import AsyncClient, AsyncRequestFactory, TestCase, override_settings
from django.urls import path

from django_sse import ChannelStreamView, Event, apublish, event_stream, publish, subscribe
from django_sse.hub import registry
from django_sse.log import get_log
from django_sse.log.base import Entry
from django_sse.models import Run
from django_sse.testing import aread, memory_log
from tests.appending import append_to
from tests.looking import eventually
from tests.options import Overrides
from tests.unit.http.forms import call, call_in_thread
from tests.unit.http.support import asgi_request, events, first, wsgi_request


class News(ChannelStreamView):
    channels = ("news",)


class Everything(ChannelStreamView):
    channels = ("news",)
    since = "earliest"


class Rooms(ChannelStreamView):
    """Hooks that are coroutine functions."""

    async def get_channels(self) -> list[str]:
        return [f"room-{self.kwargs['room']}", "news"]

    async def has_permission(self) -> bool:
        return self.request.GET.get("password") == "friend"


class Members(ChannelStreamView):
    """Hooks that ask the database."""

    def get_channels(self) -> list[str]:
        return [f"user-{user.pk}" for user in User.objects.filter(username=self.kwargs["name"])]

    def has_permission(self) -> bool:
        return User.objects.filter(username=self.kwargs["name"]).exists()


class Answering(ChannelStreamView):
    """What ``has_permission`` returns."""

    channels = ("news",)
    answer: Any = None

    async def has_permission(self) -> Any:
        return self.answer() if callable(self.answer) else self.answer


class AnsweringSync(Answering):
    def has_permission(self) -> Any:
        return self.answer() if callable(self.answer) else self.answer


class Named(ChannelStreamView):
    """The channel that the URL names, as a view that is careless of names has it."""

    since = "earliest"

    def get_channels(self) -> list[str]:
        return [self.kwargs["name"]]


@event_stream
async def named(request: HttpRequest, name: str) -> Any:
    return subscribe(name, since="earliest")


@event_stream
async def named_inside(request: HttpRequest, name: str) -> Any:
    async for chunk in subscribe(name, since="earliest"):
        yield chunk.decode()


@event_stream
async def users(request: HttpRequest) -> Any:
    async for user in User.objects.order_by("username"):
        yield user.username


@event_stream
def users_sync(request: HttpRequest) -> Any:
    for user in User.objects.order_by("username"):
        yield user.username


@event_stream
async def users_of_a_function(request: HttpRequest) -> Any:
    names = [user.username async for user in User.objects.order_by("username")]
    return (Event(name, event="user") for name in names)


urlpatterns = [
    path("news/", News.as_view()),
    path("everything/", Everything.as_view()),
    path("rooms/<room>/", Rooms.as_view()),
    path("members/<name>/", Members.as_view()),
    path("named/<name>/", Named.as_view()),
    path("named_function/<name>/", named),
    path("named_inside/<name>/", named_inside),
    path("users/", users),
    path("users_sync/", users_sync),
    path("users_of_a_function/", users_of_a_function),
]


@pytest.fixture
def client(settings: Any) -> Any:
    settings.ROOT_URLCONF = __name__
    with memory_log():
        yield AsyncClient()


async def test_it_streams_its_channels(client: AsyncClient) -> None:
    response = await client.get("/news/")
    await apublish("news", "hello", "greeting")
    (event,) = await aread(response, 1)
    assert (event.type, event.data) == ("greeting", "hello")


async def test_since_says_where_a_new_client_begins(client: AsyncClient) -> None:
    await apublish("news", "old")
    assert [event.data for event in await aread(await client.get("/everything/"), 1)] == ["old"]


async def test_a_position_goes_before_since(client: AsyncClient) -> None:
    ids = [await apublish("news", str(number)) for number in range(3)]
    response = await client.get("/everything/", headers={"Last-Event-ID": str(ids[1])})
    assert [event.data for event in await aread(response, 1)] == ["2"]


async def test_hooks_see_the_request_and_the_arguments_from_the_url(client: AsyncClient) -> None:
    response = await client.get("/rooms/7/?password=friend")
    await apublish("room-7", "in the room")
    await apublish("news", "outside")
    assert [event.data for event in await aread(response, 2)] == ["in the room", "outside"]


@pytest.mark.parametrize("method", ["get", "head"])
async def test_without_permission_nobody_streams(client: AsyncClient, method: str) -> None:
    response = await getattr(client, method)("/rooms/7/")
    assert (response.status_code, response.streaming) == (403, False)


async def test_permission_is_asked_on_a_replay_too(client: AsyncClient) -> None:
    sent = await apublish("room-7", "secret")
    response = await client.get("/rooms/7/", headers={"Last-Event-ID": str(sent)})
    assert response.status_code == 403
    assert b"secret" not in response.content


async def asked(hooks: type[Answering], answer: Any, method: str = "GET") -> Any:
    request = AsyncRequestFactory().generic(method, "/")
    view: Any = hooks.as_view(answer=answer)
    return await view(request)


@pytest.mark.parametrize("hooks", [Answering, AnsweringSync])
async def test_only_true_is_yes(client: AsyncClient, hooks: type[Answering]) -> None:
    response = await asked(hooks, True)
    assert (response.status_code, response.streaming) == (200, True)
    response.close()
    for no in (False, None):
        with pytest.raises(PermissionDenied):
            await asked(hooks, no)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("hooks", [Answering, AnsweringSync])
async def test_a_response_is_no_yes_and_is_sent(
    client: AsyncClient, hooks: type[Answering], method: str
) -> None:
    for sent in (HttpResponseForbidden("no"), HttpResponseRedirect("/login/"), HttpResponse("")):
        assert await asked(hooks, lambda sent=sent: sent, method) is sent


ANSWERS = [
    pytest.param(User.objects.all, "QuerySet", id="a queryset"),
    pytest.param("yes", "str", id="a text"),
    pytest.param("", "str", id="an empty text"),
    pytest.param(1, "int", id="one"),
    pytest.param(0, "int", id="zero"),
    pytest.param([], "list", id="a list"),
    pytest.param(lambda: subscribe("news"), "Subscription", id="a subscription"),
    pytest.param(HttpResponseForbidden, "type", id="a class"),
]


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
@pytest.mark.parametrize("hooks", [Answering, AnsweringSync])
async def test_anything_else_is_an_error_that_names_the_hook(
    client: AsyncClient, hooks: type[Answering], answer: Any, kind: str
) -> None:
    given = (lambda: answer) if kind == "type" else answer
    with pytest.raises(TypeError, match=rf"{hooks.__name__}\.has_permission.*{kind}.*True"):
        await asked(hooks, given)


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("view", ["named", "named_function"])
async def test_the_run_of_somebody_is_no_channel_for_a_view(
    client: AsyncClient, view: str, method: str
) -> None:
    run = Run(pk=uuid4()).channel
    append_to(get_log(), [Entry(run, "", "secret")])
    response = await getattr(client, method)(f"/{view}/{run}/")
    assert (response.status_code, response.streaming) == (404, False)
    if method == "get":
        assert (await client.get("/named_inside/" + run + "/")).status_code == 404


async def test_head_has_the_headers_only(client: AsyncClient) -> None:
    response = await client.head("/news/")
    assert (response.status_code, response.content) == (200, b"")
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"


async def test_options_and_other_methods(client: AsyncClient) -> None:
    response = await client.options("/news/")
    assert (response.status_code, response["Allow"]) == (200, "GET, HEAD, OPTIONS")
    for method in ("post", "put", "patch", "delete"):
        assert (await getattr(client, method)("/news/")).status_code == 405


async def test_the_terminal_id_and_an_over_long_one(client: AsyncClient) -> None:
    for position, status in (("!end", 204), ("x" * 1281, 400)):
        response = await client.get("/news/", headers={"Last-Event-ID": position})
        assert response.status_code == status


async def test_a_view_without_channels_says_what_it_needs() -> None:
    class Forgotten(ChannelStreamView):
        pass

    with memory_log(), pytest.raises(ImproperlyConfigured, match="Forgotten needs channels"):
        await call(Forgotten.as_view(), asgi_request())


class OneName(ChannelStreamView):
    channels = "news"


class ReturnsOneName(ChannelStreamView):
    def get_channels(self) -> str:
        return "news"


class ReturnsNothing(ChannelStreamView):
    def get_channels(self) -> None:
        pass


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (OneName, r"OneName\.get_channels.*must be a list .*, not 'news'"),
        (ReturnsOneName, r"ReturnsOneName\.get_channels.*must be a list .*, not 'news'"),
        (ReturnsNothing, r"ReturnsNothing\.get_channels.*must be a list .*, not None"),
    ],
)
async def test_channels_that_are_no_list_are_an_error_that_names_the_hook(
    view: type[ChannelStreamView], said: str
) -> None:
    with memory_log(), pytest.raises(TypeError, match=said):
        await call(view.as_view(), asgi_request())


def test_it_streams_under_wsgi(settings: Any, constants: Overrides) -> None:
    constants(TOPIC_LINGER=0.0)
    settings.DJANGO_SSE = {"STREAMS": {"HEARTBEAT": 0.1}}
    with memory_log():
        request = wsgi_request(path="/?last_event_id=")
        response = call_in_thread(Everything.as_view(), request)
        publish("news", "hello")
        chunks = (chunk for chunk in response if chunk != b":\n")
        assert b"event: stream-open" in next(chunks)
        assert b"data: hello" in next(chunks)
        response.close()
        # The background loop outlives the test, and must not look for this log in another.
        eventually(lambda: not any(hub.topics for hub in registry._hubs.all()), registry._hubs.all)


@override_settings(ROOT_URLCONF=__name__)
class TestInsideAUsersTestCase(TestCase):
    """Data of the test's transaction, which is never committed, is what streams see."""

    @classmethod
    def setUpTestData(cls) -> None:
        for name in ("anna", "ben"):
            User.objects.create(username=name)

    async def test_a_generator_sees_the_test_s_rows(self) -> None:
        await User.objects.acreate(username="carla")
        for url in ("/users/", "/users_sync/", "/users_of_a_function/"):
            read = await events(await self.async_client.get(url))
            assert [event.data for event in read] == ["anna", "ben", "carla", "[DONE]"]

    async def test_a_hook_sees_them_and_a_channel_streams(self) -> None:
        anna = await User.objects.aget(username="anna")
        assert (await self.async_client.get("/members/nobody/")).status_code == 403
        response = await self.async_client.get("/members/anna/")
        sent = await apublish(f"user-{anna.pk}", "hello")
        opening, event = await first(response, 2)
        assert (opening.type, event.data, event.last_event_id) == ("stream-open", "hello", sent)

    def test_the_sync_client_sees_them_too(self) -> None:
        for url in ("/users/", "/users_sync/", "/users_of_a_function/"):
            body = self.client.get(url).getvalue()
            assert [line for line in body.splitlines() if line.startswith(b"data: ")] == [
                b"data: anna",
                b"data: ben",
                b"data: [DONE]",
            ]

    def test_nothing_of_another_test_is_left(self) -> None:
        assert User.objects.count() == 2
