"""The helpers for users' tests, used as users use them: in real TestCase classes of every kind,
with both clients, under pytest and under Django's own runner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.test import (
    AsyncClient,
    Client,
    SimpleTestCase,
    TestCase,
    TransactionTestCase,
    override_settings,
)
from django.urls import path

from django_sse import (
    Event,
    EventStreamResponse,
    apublish,
    cursor,
    event_stream,
    finish,
    publish,
    publish_many,
    redact,
    subscribe,
)
from django_sse.conf import current
from django_sse.log import get_log
from django_sse.log.memory import MemoryLog
from django_sse.testing import MessageEvent, apublished, aread, memory_log, published, read
from tests.positions import id_of
from tests.unit.management.support import run_tests

_closed: dict[str, threading.Event] = {}


@event_stream
def users(request: HttpRequest) -> Iterator[Any]:
    for user in User.objects.order_by("pk"):
        yield user.username


@event_stream
async def users_async(request: HttpRequest) -> AsyncIterator[Any]:
    async for user in User.objects.order_by("pk"):
        yield user.username


def users_plain(request: HttpRequest) -> EventStreamResponse:
    return EventStreamResponse(user.username for user in User.objects.order_by("pk"))


def users_plain_async(request: HttpRequest) -> EventStreamResponse:
    async def names() -> AsyncIterator[str]:
        async for user in User.objects.order_by("pk"):
            yield user.username

    return EventStreamResponse(names(), request=request)


@event_stream
def endless(request: HttpRequest) -> Iterator[Any]:
    try:
        while True:
            yield {"users": User.objects.count()}
    finally:
        _closed[request.path].set()


@event_stream
async def endless_async(request: HttpRequest) -> AsyncIterator[Any]:
    try:
        while True:
            yield {"users": await User.objects.acount()}
            await asyncio.sleep(0.01)
    finally:
        _closed[request.path].set()


@event_stream
async def silent(request: HttpRequest) -> AsyncIterator[Any]:
    try:
        yield "hello"
        await asyncio.Event().wait()
    finally:
        _closed[request.path].set()


@event_stream
def room(request: HttpRequest) -> Any:
    if not User.objects.exists():
        raise PermissionDenied
    return subscribe("room")


@event_stream
async def room_async(request: HttpRequest) -> Any:
    if not await User.objects.aexists():
        raise PermissionDenied
    return subscribe("room")


@event_stream
async def anyones_room(request: HttpRequest) -> Any:
    return subscribe("room")


@event_stream
async def missing(request: HttpRequest) -> AsyncIterator[Any]:
    if not await User.objects.aexists():
        raise Http404("nobody there")
    yield "somebody"


@event_stream
async def two_at_once(request: HttpRequest) -> Any:
    return [Event("1", id="1"), Event("2", event="two", id="2"), Event("3\n4", id="3")]


def not_ours(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse([b"data: a\n\nda", b"ta: b\n\n"])


_VIEWS = (
    users,
    users_async,
    users_plain,
    users_plain_async,
    endless,
    endless_async,
    silent,
    room,
    room_async,
    anyones_room,
    missing,
    two_at_once,
    not_ours,
)
urlpatterns = [path(f"{view.__name__}/", view) for view in _VIEWS]

here = override_settings(ROOT_URLCONF=__name__)
pytestmark = pytest.mark.urls(__name__)


def contents(events: list[MessageEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.data) for event in events]


NAMES = [("message", "ann"), ("message", "bob"), ("close", "[DONE]")]
ROOMS = [("message", "one"), ("tick", '{"n":2}'), ("close", "[DONE]")]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_sse.http.ahead.SECONDS", 0.3)


class Streams:
    """What holds in a TestCase and in a TransactionTestCase alike, with either client."""

    client: Client
    async_client: AsyncClient

    def add_users(self) -> None:
        for name in ("ann", "bob"):
            User.objects.create(username=name)

    def fill(self) -> None:
        publish("room", "one")
        publish("room", {"n": 2}, event="tick")
        finish("room")

    def test_a_generator_sees_the_tests_data(self) -> None:
        self.add_users()
        for view in ("users", "users_async", "users_plain", "users_plain_async"):
            assert contents(read(self.client.get(f"/{view}/"))) == NAMES, view

    async def test_a_generator_sees_the_tests_data_async(self) -> None:
        await sync_to_async(self.add_users)()
        for view in ("users", "users_async", "users_plain", "users_plain_async"):
            response = await self.async_client.get(f"/{view}/")
            assert contents(await aread(response)) == NAMES, view

    def test_the_whole_body_of_a_stream_that_ends_can_be_had(self) -> None:
        self.add_users()
        for view in ("users", "users_async", "users_plain", "users_plain_async"):
            for body in (
                self.client.get(f"/{view}/").getvalue(),
                b"".join(self.client.get(f"/{view}/")),
            ):
                assert body.startswith(b"data: ann\n\ndata: bob\n\n"), view
                assert body.endswith(b"data: [DONE]\n\n"), view

    def test_what_is_published_after_the_request_is_read(self) -> None:
        self.add_users()
        for number, view in enumerate(("room", "room_async")):
            response = self.client.get(f"/{view}/")
            with transaction.atomic():
                publish("room", str(number))
            assert contents(read(response, 1)) == [("message", str(number))], view

    async def test_what_is_published_after_the_request_is_read_async(self) -> None:
        await sync_to_async(self.add_users)()
        for number, view in enumerate(("room", "room_async")):
            response = await self.async_client.get(f"/{view}/")
            await apublish("room", str(number))
            assert contents(await aread(response, 1)) == [("message", str(number))], view

    def test_a_channel_is_read_to_its_end(self) -> None:
        self.add_users()
        responses = [self.client.get(f"/{view}/") for view in ("room", "room_async")]
        self.fill()
        for response in responses:
            assert contents(read(response)) == ROOMS

    def test_the_whole_body_of_a_channel_that_ends_can_be_had(self) -> None:
        self.add_users()
        responses = [self.client.get(f"/{view}/") for view in ("room", "room_async")]
        self.fill()
        for response in responses:
            assert response.getvalue().endswith(b"event: close\ndata: [DONE]\n\n")

    async def test_what_is_published_while_it_is_read_is_read(self) -> None:
        await sync_to_async(self.add_users)()
        response = await self.async_client.get("/room_async/")
        reading = asyncio.create_task(aread(response, 2, opening=True))

        await apublish("room", "one")

        assert contents(await reading) == [("stream-open", "{}"), ("message", "one")]

    def test_a_client_goes_on_where_it_was(self) -> None:
        self.add_users()
        publish_many([("room", "one"), ("room", "two"), ("room", "three")])
        position = id_of("room", 1)

        for view in ("room", "room_async"):
            response = self.client.get(f"/{view}/", headers={"Last-Event-ID": position})
            assert contents(read(response, 2)) == [("message", "two"), ("message", "three")], view

    def test_what_is_raised_before_the_first_item_is_a_status(self) -> None:
        for view, status in (("missing", 404), ("room", 403), ("room_async", 403)):
            assert self.client.get(f"/{view}/").status_code == status, view
        self.add_users()
        for view in ("missing", "room", "room_async"):
            assert self.client.get(f"/{view}/").status_code == 200, view

    def test_the_first_events_of_an_endless_stream_are_read(self) -> None:
        self.add_users()
        for view in ("room", "room_async"):
            assert contents(read(self.client.get(f"/{view}/"), 1, opening=True)) == [
                ("stream-open", "{}")
            ]

    async def test_an_endless_generator_is_closed_when_enough_was_read(self) -> None:
        await sync_to_async(self.add_users)()
        for view in ("endless", "endless_async"):
            closed = _closed[f"/{view}/"] = threading.Event()
            response = await self.async_client.get(f"/{view}/")
            assert contents(await aread(response, 3)) == [("message", '{"users":2}')] * 3
            assert await asyncio.to_thread(closed.wait, 60)

    @pytest.mark.usefixtures("impatient")
    def test_the_start_of_an_endless_generator_is_there_for_the_synchronous_client(self) -> None:
        User.objects.create(username="ann")
        for view in ("endless", "endless_async"):
            closed = _closed[f"/{view}/"] = threading.Event()
            response = self.client.get(f"/{view}/")
            assert closed.is_set()
            assert contents(read(response, 2)) == [("message", '{"users":1}')] * 2

    @pytest.mark.usefixtures("impatient")
    def test_the_end_of_an_endless_stream_is_an_error_that_names_the_way_out(self) -> None:
        User.objects.create(username="ann")
        for view in ("endless", "endless_async", "room"):
            _closed[f"/{view}/"] = threading.Event()
            with pytest.raises(TimeoutError, match="async_client"):
                b"".join(self.client.get(f"/{view}/"))
            with pytest.raises(TimeoutError, match="stream's end"):
                read(self.client.get(f"/{view}/"), timeout=0.2)

    def test_what_was_published_can_be_asked_of_the_log(self) -> None:
        assert published("room") == []
        self.fill()
        assert published("room") == ROOMS
        assert published("other") == []

    async def test_what_was_published_can_be_asked_of_the_log_async(self) -> None:
        await sync_to_async(self.fill)()
        assert await apublished("room") == ROOMS


@here
class InTestCase(Streams, TestCase):
    def test_publishing_shares_no_fate_with_the_tests_own_transaction(self) -> None:
        assert publish("room", "one") == cursor("room")
        with transaction.atomic():
            assert publish("room", "two") == cursor("room")
        assert published("room") == [("message", "one"), ("message", "two")]

    def test_a_rolled_back_publish_is_gone(self) -> None:
        with transaction.atomic():
            publish("room", "one")
            transaction.set_rollback(True)
        assert published("room") == []

    def test_one_test_does_not_see_anothers_events(self) -> None:
        assert published("left-over") == []
        publish("left-over", "one")

    def test_one_test_does_not_see_anothers_events_either(self) -> None:
        self.test_one_test_does_not_see_anothers_events()


@here
class InTransactionTestCase(Streams, TransactionTestCase):
    def test_inside_a_transaction_an_event_is_published_at_the_commit(self) -> None:
        with transaction.atomic():
            publish("room", "one")
            assert published("room") == []
        assert published("room") == [("message", "one")]


@here
@memory_log()
class InTestCaseWithMemoryLog(Streams, TestCase):
    def test_the_log_is_in_memory(self) -> None:
        assert isinstance(get_log(), MemoryLog)


@here
@memory_log()
class InTransactionTestCaseWithMemoryLog(Streams, TransactionTestCase):
    def test_the_log_is_in_memory(self) -> None:
        assert isinstance(get_log(), MemoryLog)


@here
@memory_log()
class InSimpleTestCase(SimpleTestCase):
    """Where any use of a database is an error."""

    def test_no_database_is_needed(self) -> None:
        response = self.client.get("/anyones_room/")
        publish("room", "one")
        assert contents(read(response, 1)) == [("message", "one")]
        assert published("room") == [("message", "one")]

    async def test_no_database_is_needed_async(self) -> None:
        response = await self.async_client.get("/anyones_room/")
        await apublish("room", "one")
        assert contents(await aread(response, 1)) == [("message", "one")]
        assert await apublished("room") == [("message", "one")]

    def test_each_test_starts_empty(self) -> None:
        assert published("room") == []
        publish("room", "one")

    def test_each_test_starts_empty_again(self) -> None:
        self.test_each_test_starts_empty()


# -- pytest


@pytest.mark.django_db
def test_in_a_test_with_pytest_djangos_database(client: Client) -> None:
    for name in ("ann", "bob"):
        User.objects.create(username=name)
    for view in ("users", "users_async"):
        assert contents(read(client.get(f"/{view}/"))) == NAMES
    response = client.get("/room/")
    assert publish("room", "one")
    assert contents(read(response, 1)) == [("message", "one")]


@pytest.mark.django_db(transaction=True)
async def test_in_an_async_test_with_pytest_djangos_database(async_client: AsyncClient) -> None:
    await User.objects.acreate(username="ann")
    response = await async_client.get("/room/")
    await apublish("room", "one")
    assert contents(await aread(response, 1)) == [("message", "one")]
    assert await apublished("room") == [("message", "one")]


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    with memory_log() as log:
        yield log


async def test_in_an_async_test_without_a_database(
    log: MemoryLog, async_client: AsyncClient
) -> None:
    response = await async_client.get("/anyones_room/")
    await apublish("room", "one")
    assert contents(await aread(response, 1)) == [("message", "one")]


def test_in_a_test_without_a_database(log: MemoryLog, client: Client) -> None:
    response = client.get("/anyones_room/")
    publish("room", "one")
    assert contents(read(response, 1)) == [("message", "one")]
    assert get_log() is log


# -- reading


async def test_an_event_has_type_data_and_id(async_client: AsyncClient) -> None:
    events = await aread(await async_client.get("/two_at_once/"))

    assert events[:3] == [
        MessageEvent("message", "1", "1"),
        MessageEvent("two", "2", "2"),
        MessageEvent("message", "3\n4", "3"),
    ]


async def test_no_more_events_are_given_than_asked_for(async_client: AsyncClient) -> None:
    for count in range(4):
        response = await async_client.get("/two_at_once/")
        assert len(await aread(response, count)) == count


async def test_a_stream_that_ends_early_gives_fewer(async_client: AsyncClient) -> None:
    assert len(await aread(await async_client.get("/two_at_once/"), 100)) == 4


async def test_events_that_do_not_come_are_an_error_that_says_what_came(
    async_client: AsyncClient,
) -> None:
    closed = _closed["/silent/"] = threading.Event()
    response = await async_client.get("/silent/")

    with pytest.raises(TimeoutError, match=r"0\.2 s for 2 events.*hello"):
        await aread(response, 2, timeout=0.2)

    assert await asyncio.to_thread(closed.wait, 60)


@pytest.mark.usefixtures("impatient")
def test_a_synchronous_read_has_a_time_out_too(client: Client) -> None:
    closed = _closed["/silent/"] = threading.Event()

    with pytest.raises(TimeoutError, match=r"stream's end.*hello"):
        read(client.get("/silent/"), timeout=0.2)

    assert closed.wait(60)


def test_opening_shows_where_the_stream_begins(log: MemoryLog, client: Client) -> None:
    [opening] = read(client.get("/anyones_room/"), 1, opening=True)

    assert (opening.type, opening.data) == ("stream-open", "{}")
    assert opening.last_event_id == cursor("room")


def test_an_event_of_any_size_is_read(log: MemoryLog, client: Client, settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "LIMITS": {"MAX_EVENT_BYTES": 8 << 20}}
    response = client.get("/anyones_room/")
    publish("room", "x" * (6 << 20))

    [event] = read(response, 1, timeout=60)

    assert len(event.data) == 6 << 20


@pytest.mark.parametrize("view", ["missing", "room_async"])
@pytest.mark.django_db
def test_a_response_that_is_no_stream_fails_the_test(client: Client, view: str) -> None:
    status = {"missing": 404, "room_async": 403}[view]

    with pytest.raises(AssertionError, match=f"not an event stream, but {status}"):
        read(client.get(f"/{view}/"))


def test_a_channel_at_its_end_is_no_stream(log: MemoryLog, client: Client) -> None:
    finish("room")

    with pytest.raises(AssertionError, match="not an event stream, but 204"):
        read(client.get("/anyones_room/"))


def test_a_stream_of_another_class_is_read(client: Client) -> None:
    assert contents(read(client.get("/not_ours/"))) == [("message", "a"), ("message", "b")]


# -- what was published


def test_what_was_redacted_is_not_published(log: MemoryLog) -> None:
    publish_many([("room", "one"), ("room", "two")])
    redact("room", 1)

    assert published("room") == [("message", "two")]


def test_more_than_a_page_was_published(log: MemoryLog) -> None:
    publish_many([("room", str(number)) for number in range(1201)])

    assert published("room") == [("message", str(number)) for number in range(1201)]


def test_a_trimmed_channel_has_what_is_left(log: MemoryLog) -> None:
    publish_many([("room", "one"), ("room", "two")])
    log.trim("room", count=1)

    assert published("room") == [("message", "two")]


def test_an_impossible_channel_is_an_error(log: MemoryLog) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        published("")


# -- the log in memory


def test_the_log_in_memory_keeps_the_other_settings(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"HEARTBEAT": 7}}

    with memory_log():
        assert current().STREAMS.HEARTBEAT == 7
        assert current().NOTIFIER.BACKEND == "local"
    assert settings.DJANGO_SSE == {"STREAMS": {"HEARTBEAT": 7}}
    assert not isinstance(get_log(), MemoryLog)


def test_the_log_in_memory_works_without_settings(settings: Any) -> None:
    del settings.DJANGO_SSE

    with memory_log() as log:
        assert get_log() is log


def test_nothing_is_left_in_memory() -> None:
    with memory_log() as log:
        publish("room", "one")
    assert list(log.channels()) == []
    with memory_log():
        assert published("room") == []


def test_an_error_ends_the_log_in_memory() -> None:
    with pytest.raises(RuntimeError), memory_log():
        raise RuntimeError
    assert not isinstance(get_log(), MemoryLog)


@memory_log()
def test_the_log_in_memory_decorates_functions() -> None:
    assert isinstance(get_log(), MemoryLog)


@memory_log()
async def test_the_log_in_memory_decorates_async_functions() -> None:
    await apublish("room", "one")
    assert isinstance(get_log(), MemoryLog)


async def test_a_new_log_on_the_same_loop_is_a_new_start(async_client: AsyncClient) -> None:
    for _ in range(3):
        with memory_log():
            response = await async_client.get("/anyones_room/")
            await apublish("room", "one")
            assert contents(await aread(response, 2, opening=True)) == [
                ("stream-open", "{}"),
                ("message", "one"),
            ]


# -- Django's own runner


_SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_sse"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": "db.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;",
    },
}}
USE_TZ = True
ROOT_URLCONF = "test_project"
LOGGING_CONFIG = None
"""
_TESTS = """
from django.contrib.auth.models import User
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.urls import path
from django_sse import apublish, event_stream, publish, subscribe
from django_sse.testing import apublished, aread, memory_log, published, read

@event_stream
def users(request):
    for user in User.objects.all():
        yield user.username

@event_stream
async def users_async(request):
    async for user in User.objects.all():
        yield user.username

@event_stream
async def room(request):
    return subscribe("room")

urlpatterns = [
    path("users/", users), path("users_async/", users_async), path("room/", room)
]

class Both:
    def test_generators(self):
        User.objects.create(username="ann")
        for view in ("users", "users_async"):
            events = read(self.client.get(f"/{view}/"))
            self.assertEqual([event.data for event in events], ["ann", "[DONE]"])

    async def test_generators_async(self):
        await User.objects.acreate(username="ann")
        for view in ("users", "users_async"):
            events = await aread(await self.async_client.get(f"/{view}/"))
            self.assertEqual([event.data for event in events], ["ann", "[DONE]"])

    def test_channel(self):
        response = self.client.get("/room/")
        publish("room", "one")
        self.assertEqual(read(response, 1)[0].data, "one")
        self.assertEqual(published("room"), [("message", "one")])

    async def test_channel_async(self):
        response = await self.async_client.get("/room/")
        await apublish("room", "one")
        self.assertEqual((await aread(response, 1))[0].data, "one")
        self.assertEqual(await apublished("room"), [("message", "one")])

class A(Both, TestCase): pass
class B(Both, TransactionTestCase): pass

@memory_log()
class C(SimpleTestCase):
    test_channel = Both.test_channel
    test_channel_async = Both.test_channel_async
"""


@pytest.mark.parametrize("arguments", [[], ["--parallel", "2"]], ids=["alone", "parallel"])
def test_everything_works_under_djangos_own_runner(tmp_path: Path, arguments: list[str]) -> None:
    output = run_tests(tmp_path, _SETTINGS, _TESTS, *arguments)
    assert "Ran 10 tests" in output
    assert "no issues" in output
