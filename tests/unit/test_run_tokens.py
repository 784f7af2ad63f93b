"""Clients with tokens: who needs a CSRF token to stop a run, and whose their streams are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncClient
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from django_sse import event_stream
from django_sse.models import Run
from tests.unit.runs.conftest import configure, live

__all__ = ["configure", "live"]

pytestmark = pytest.mark.usefixtures("live")


@csrf_exempt
@event_stream(resumable=True)
async def answer(request: HttpRequest) -> AsyncIterator[str]:
    yield "token 0"
    await asyncio.Event().wait()


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(get_token(request))


def by_token(request: HttpRequest) -> str | None:
    return request.headers.get("Authorization") or request.headers.get("X-Key")


def by_team(request: HttpRequest) -> str | None:
    """Names an owner for users who logged in with a cookie."""
    return "team" if request.user.is_authenticated else None


def anybody(request: HttpRequest, run: Run, action: str) -> bool:
    return True


urlpatterns = [
    path("answer/", answer),
    path("page/", page),
    path("runs/", include("django_sse.urls")),
]


@pytest.fixture(autouse=True)
def urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def strict() -> AsyncClient:
    return AsyncClient(enforce_csrf_checks=True)


async def logged_in() -> AsyncClient:
    client = strict()
    await client.aforce_login(await User.objects.acreate(username="anna"))
    return client


async def begun(client: AsyncClient, **headers: str) -> UUID:
    response: Any = await client.post("/answer/", headers=headers)
    assert response.status_code == 200
    response.close()
    return UUID(response["Location"].split("/")[2])


async def stop(client: AsyncClient, run_id: UUID, **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await client.post(f"/runs/{run_id}/stop/", headers=sent)).status_code


@pytest.mark.parametrize("uses_sessions", [False, True])
async def test_a_cookie_needs_the_token_and_the_token_is_enough(
    settings: Any, uses_sessions: bool
) -> None:
    settings.CSRF_USE_SESSIONS = uses_sessions
    client = await logged_in()
    run_id = await begun(client)
    assert await stop(client, run_id) == 403
    token = (await client.get("/page/")).content.decode()
    assert await stop(client, run_id, X_CSRFToken="x" * 64) == 403
    assert await stop(client, run_id, X_CSRFToken=token) == 200


async def test_a_cookie_needs_the_token_without_the_middleware_too(settings: Any) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "Csrf" not in each]
    client = await logged_in()
    assert await stop(client, await begun(client)) == 403


@pytest.mark.parametrize("header", ["Authorization", "X-Key"])
async def test_a_client_that_the_hook_knows_and_that_has_no_cookies_needs_no_token(
    configure: Any, header: str
) -> None:
    configure(OWNER=f"{__name__}.by_token")
    run_id = await begun(strict(), **{header: "Bearer 1"})
    assert await stop(strict(), run_id, **{header: "Bearer 2"}) == 404
    assert await stop(strict(), run_id, **{header: "Bearer 1"}) == 200


async def test_a_script_that_adds_its_token_needs_no_other_though_it_has_cookies(
    configure: Any,
) -> None:
    configure(OWNER=f"{__name__}.by_token")
    client = await logged_in()
    run_id = await begun(client, Authorization="Bearer 1")
    assert await stop(client, run_id, Authorization="Bearer 1") == 200


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic YTpi"}, {"X-Key": "1"}])
async def test_an_owner_that_may_come_from_a_cookie_needs_the_token(
    configure: Any, header: dict[str, str]
) -> None:
    configure(OWNER=f"{__name__}.by_team")
    client = await logged_in()
    run_id = await begun(client, **header)
    assert await stop(client, run_id, **header) == 403


async def test_a_token_that_the_hook_does_not_know_replaces_no_csrf_token(configure: Any) -> None:
    configure(OWNER=f"{__name__}.by_team", ACCESS=f"{__name__}.anybody")
    run_id = await begun(await logged_in())
    assert await stop(strict(), run_id, Authorization="Bearer nobody") == 403


async def test_a_page_of_another_site_stops_nothing_with_what_the_browser_adds(
    configure: Any,
) -> None:
    configure(OWNER=f"{__name__}.by_token")
    basic = {"Authorization": "Basic YTpi"}
    run_id = await begun(strict(), **basic)
    assert await stop(strict(), run_id, Sec_Fetch_Site="cross-site", **basic) == 403
    assert await stop(strict(), run_id, **basic) == 200


async def test_the_streams_of_a_token_are_of_one_owner(configure: Any) -> None:
    configure(OWNER=f"{__name__}.by_token", STREAMS_PER_OWNER=1)
    run_id = await begun(strict(), Authorization="Bearer 1")

    async def events(**headers: str) -> Any:
        return await strict().get(f"/runs/{run_id}/events/", headers=headers)

    first = await events(Authorization="Bearer 1")
    assert first.status_code == 200
    assert (await events(Authorization="Bearer 1")).status_code == 429
    other: Any = await strict().post("/answer/", headers={"Authorization": "Bearer 2"})
    assert other.status_code == 200
    other.close()
    first.close()
