"""Where the code of a stream runs, by its request and by the test around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.test import AsyncRequestFactory, Client, RequestFactory

from django_sse.process.place import Place, may_leave_thread

ASGI, WSGI = AsyncRequestFactory().get("/"), RequestFactory().get("/")


def from_client() -> HttpRequest:
    """A request of Django's synchronous test client."""
    return Client().get("/nowhere/").wsgi_request


@pytest.fixture(params=["from a coroutine", "from a thread"])
def place_of(request: pytest.FixtureRequest) -> Callable[[Any], Place]:
    return async_to_sync(Place.of) if request.param == "from a coroutine" else Place.of_thread


@pytest.mark.parametrize(
    ("request_", "expected"),
    [(ASGI, Place.LOOP), (WSGI, Place.BACKGROUND), (None, Place.BACKGROUND)],
    ids=["ASGI", "WSGI", "no request"],
)
def test_a_servers_request_decides(
    request_: Any, expected: Place, place_of: Callable[[Any], Place]
) -> None:
    assert place_of(request_) is expected


def test_a_synchronous_test_client_waits_for_it(place_of: Callable[[Any], Place]) -> None:
    assert place_of(from_client()) is Place.TEST


@pytest.mark.django_db
def test_a_testcase_waits_for_it_whatever_made_the_request(
    place_of: Callable[[Any], Place], django_user_model: Any
) -> None:
    django_user_model.objects.count()
    for request in (WSGI, None):
        assert place_of(request) is Place.TEST
    # Its loop is the test's own, and goes on.
    assert place_of(ASGI) is Place.LOOP


def test_a_view_that_a_server_called_may_leave_its_thread() -> None:
    for request in (ASGI, WSGI, None):
        assert may_leave_thread(request)
    assert not may_leave_thread(from_client())


@pytest.mark.django_db
def test_in_a_testcase_none_may_whatever_made_the_request(django_user_model: Any) -> None:
    django_user_model.objects.count()
    for request in (ASGI, WSGI, None):
        assert not may_leave_thread(request)


async def where() -> tuple[str, asyncio.AbstractEventLoop]:
    return threading.current_thread().name, asyncio.get_running_loop()


@pytest.mark.parametrize("place", [Place.LOOP, Place.TEST])
async def test_code_runs_on_the_loop_that_asks(place: Place) -> None:
    assert (await place.run(where))[1] is asyncio.get_running_loop()


async def test_code_runs_on_the_background_loop() -> None:
    name, loop = await Place.BACKGROUND.run(where)
    assert name == "django_sse-loop"
    assert loop is not asyncio.get_running_loop()


@pytest.mark.parametrize("place", Place)
def test_a_thread_waits_for_it(place: Place) -> None:
    name, loop = place.run_from_thread(where)
    assert (name == "django_sse-loop") is (place is Place.BACKGROUND)
    # The other loops end with what was asked for.
    assert loop.is_closed() is (place is not Place.BACKGROUND)
