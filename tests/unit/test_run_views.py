"""The ready-made views of runs: events, stop and status, for their owner and for nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponseRedirect
from django.test import AsyncClient
from django.urls import include, path
from django.utils.dateparse import parse_datetime

from django_sse import event_stream
from django_sse.exceptions import LogUnavailable
from django_sse.log.base import Head
from django_sse.log.model import ModelLog
from django_sse.models import Run
from django_sse.process import database
from django_sse.runs import store
from django_sse.testing import aread
from tests.unit.hub.support import eventually
from tests.unit.runs.conftest import configure, live
from tests.unit.runs.support import ABORTED, INTERRUPTED, anew_run, until

__all__ = ["configure", "live"]

pytestmark = pytest.mark.usefixtures("live")

left: list[str] = []


@event_stream(resumable=True)
async def short(request: HttpRequest) -> AsyncIterator[str]:
    for number in range(3):
        yield f"token {number}"


@event_stream(resumable=True)
async def long(request: HttpRequest) -> AsyncIterator[str]:
    try:
        yield "token 0"
        await asyncio.Event().wait()
    finally:
        left.append("long")


def let_friends_in(request: HttpRequest, run: Run, action: str) -> bool:
    return request.GET.get("password") == "friend"


def send_to_log_in(request: HttpRequest, run: Run, action: str) -> Any:
    return HttpResponseRedirect("/login/")


def say_yes(request: HttpRequest, run: Run, action: str) -> Any:
    return "yes"


urlpatterns = [
    path("short/", short),
    path("long/", long),
    path("answers/", include("django_sse.urls")),
]


@pytest.fixture(autouse=True)
def urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    left.clear()


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient()


async def begun(client: AsyncClient, name: str) -> UUID:
    response: Any = await client.post(f"/{name}/")
    assert response.status_code == 200
    response.close()
    return UUID(response["Location"].split("/")[2])


async def status(client: AsyncClient, run_id: UUID) -> dict[str, Any]:
    response = await client.get(f"/answers/{run_id}/")
    assert (response.status_code, response["Cache-Control"]) == (200, "no-store")
    told: dict[str, Any] = response.json()
    return told


async def ended(client: AsyncClient, run_id: UUID) -> dict[str, Any]:
    """The status of a run that is over in a moment."""
    async with asyncio.timeout(60):
        while (told := await status(client, run_id))["state"] == "running":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return told


# -- status


async def test_the_status_of_a_run_tells_how_it_is_and_where_the_rest_is(
    client: AsyncClient,
) -> None:
    run_id = await begun(client, "long")
    async with asyncio.timeout(60):
        while not (told := await status(client, run_id))["events"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    run = await Run.objects.aget(pk=run_id)
    assert told == {
        "id": str(run_id),
        "state": "running",
        "events": 1,
        "created": run.created.isoformat(),
        "events_url": f"/answers/{run_id}/events/",
        "stop_url": f"/answers/{run_id}/stop/",
    }
    assert parse_datetime(told["created"]) == run.created


async def test_at_the_end_it_says_how_it_ended(client: AsyncClient) -> None:
    told = await ended(client, await begun(client, "short"))
    assert (told["state"], told["events"]) == ("done", 4)


@pytest.mark.options(LEASE=1.0)
async def test_of_a_run_whose_process_died_it_says_error(client: AsyncClient) -> None:
    await client.post("/short/")
    mine = await Run.objects.aget()
    dead = await anew_run(mine.owner)
    # The view does not decide that itself: it makes the process look for long enough.
    assert (await status(client, dead.pk))["state"] == "running"
    await until(dead, "error")
    assert (await status(client, dead.pk))["state"] == "error"
    (event,) = await aread(await client.get(f"/answers/{dead.pk}/events/"))
    assert json.loads(event.data) == INTERRUPTED


# -- stop


async def test_a_stop_stops_the_generator_and_says_so_to_everybody(client: AsyncClient) -> None:
    run_id = await begun(client, "long")
    watching = await client.get(f"/answers/{run_id}/events/")
    response = await client.post(f"/answers/{run_id}/stop/")
    assert (response.status_code, response.json()) == (200, {"stopped": True})
    *_, last = await aread(watching)
    assert (last.type, json.loads(last.data)) == ("error", ABORTED)
    await eventually(lambda: left == ["long"])
    assert (await status(client, run_id))["state"] == "aborted"


async def test_a_second_stop_and_one_after_the_end_change_nothing(client: AsyncClient) -> None:
    for name, state in (("long", "aborted"), ("short", "done")):
        run_id = await begun(client, name)
        if name == "long":
            assert (await client.post(f"/answers/{run_id}/stop/")).json() == {"stopped": True}
        before = await ended(client, run_id)
        response = await client.post(f"/answers/{run_id}/stop/")
        assert (response.status_code, response.json()) == (200, {"stopped": False})
        assert await status(client, run_id) == before
        assert before["state"] == state


async def test_a_stop_needs_a_post_and_the_sites_own_page() -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    run_id = await begun_by_csrf_client(client)
    assert (await client.get(f"/answers/{run_id}/stop/")).status_code == 405
    assert (await client.post(f"/answers/{run_id}/stop/")).status_code == 403
    assert left == []


async def begun_by_csrf_client(client: AsyncClient) -> UUID:
    response: Any = await client.get("/long/")
    response.close()
    return UUID(response["Location"].split("/")[2])


# -- events


async def test_the_events_begin_with_the_first_or_behind_the_position(client: AsyncClient) -> None:
    run_id = await begun(client, "short")
    url = f"/answers/{run_id}/events/"
    events = await aread(await client.get(url))
    assert [event.data for event in events] == ["token 0", "token 1", "token 2", "[DONE]"]
    seen = {"Last-Event-ID": events[1].last_event_id}
    assert await aread(await client.get(url, headers=seen)) == events[2:]
    response = await client.get(url)
    assert response["Location"] == response["Content-Location"] == url


@pytest.mark.parametrize("end", ["!end", "of the log"])
async def test_after_the_end_it_is_204(client: AsyncClient, end: str) -> None:
    run_id = await begun(client, "short")
    url = f"/answers/{run_id}/events/"
    *_, last = await aread(await client.get(url))
    position = end if end == "!end" else last.last_event_id
    response = await client.get(url, headers={"Last-Event-ID": position})
    assert (response.status_code, response["Cache-Control"]) == (204, "no-store")


async def test_a_position_of_another_run_is_told_and_the_whole_is_sent(
    client: AsyncClient,
) -> None:
    one, other = await begun(client, "short"), await begun(client, "short")
    (seen,) = await aread(await client.get(f"/answers/{other}/events/"), 1)
    response = await client.get(
        f"/answers/{one}/events/", headers={"Last-Event-ID": seen.last_event_id}
    )
    events = await aread(response)
    assert [event.type for event in events] == ["stream-reset", *["message"] * 3, "close"]


async def test_head_has_the_headers_only(client: AsyncClient) -> None:
    response = await client.head(f"/answers/{await begun(client, 'short')}/events/")
    assert (response.status_code, response.content) == (200, b"")
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_events_and_status_are_only_read(client: AsyncClient, method: str) -> None:
    run_id = await begun(client, "short")
    for url in (f"/answers/{run_id}/events/", f"/answers/{run_id}/"):
        assert (await getattr(client, method)(url)).status_code == 405


# -- whose it is


async def answers(client: AsyncClient, run_id: UUID, query: str = "", **headers: str) -> list[int]:
    """The status codes of all that can be asked of a run."""
    found = []
    for method, name in (("get", "events/"), ("head", "events/"), ("get", ""), ("post", "stop/")):
        ask = getattr(client, method)
        response = await ask(f"/answers/{run_id}/{name}{query}", headers=headers)
        found.append(response.status_code)
        response.close()
    return found


@pytest.mark.parametrize("name", ["short", "long"])
async def test_a_run_of_somebody_else_is_not_there(client: AsyncClient, name: str) -> None:
    anna, ben = [await User.objects.acreate(username=each) for each in ("anna", "ben")]
    await client.aforce_login(anna)
    run_id = await begun(client, name)
    other, anonymous, own = AsyncClient(), AsyncClient(), AsyncClient()
    await other.aforce_login(ben)
    await begun(anonymous, "short")
    epoch = (await Run.objects.aget(pk=run_id)).epoch
    for stranger in (other, anonymous, AsyncClient()):
        assert await answers(stranger, run_id) == [404] * 4
        seen = {"Last-Event-ID": f"{epoch}-1-tagtag"}
        response = await stranger.get(f"/answers/{run_id}/events/", headers=seen)
        assert response.status_code == 404
    assert left == []
    # Another device of hers is hers.
    await own.aforce_login(anna)
    assert await answers(own, run_id) == [200] * 4


async def test_who_logs_in_meanwhile_keeps_the_run(client: AsyncClient) -> None:
    run_id = await begun(client, "short")
    # As login() does: the key of the session changes, and what it holds stays.
    session = await client.asession()
    await session.acycle_key()
    await session.asave()
    client.cookies["sessionid"] = str(session.session_key)
    assert await answers(client, run_id) == [200] * 4


async def test_the_project_may_let_others_in(client: AsyncClient, configure: Any) -> None:
    configure(ACCESS=f"{__name__}.let_friends_in")
    run_id = await begun(client, "short")
    friend = AsyncClient()
    assert await answers(friend, run_id, "?password=friend") == [200] * 4
    assert await answers(friend, run_id, "?password=foe") == [404] * 4


async def test_a_response_of_the_projects_is_the_answer(
    client: AsyncClient, configure: Any
) -> None:
    configure(ACCESS=f"{__name__}.send_to_log_in")
    run_id = await begun(client, "long")
    assert await answers(AsyncClient(), run_id) == [302] * 4
    # The view that began it, too, for who comes back with a position of it.
    epoch = (await Run.objects.aget(pk=run_id)).epoch
    response = await AsyncClient().get("/long/", headers={"Last-Event-ID": f"{epoch}-1-tagtag"})
    assert (response.status_code, response["Location"]) == (302, "/login/")
    assert await answers(client, run_id) == [200] * 4


async def test_a_hook_that_says_neither_yes_nor_no_lets_nobody_in(
    client: AsyncClient, configure: Any
) -> None:
    configure(ACCESS=f"{__name__}.say_yes")
    run_id = await begun(client, "long")
    epoch = (await Run.objects.aget(pk=run_id)).epoch
    stranger = AsyncClient(raise_request_exception=False)
    assert await answers(stranger, run_id) == [500] * 4
    response = await stranger.get("/long/", headers={"Last-Event-ID": f"{epoch}-1-tagtag"})
    assert response.status_code == 500
    assert left == []


async def test_a_run_that_never_was_or_is_gone_is_not_found(client: AsyncClient) -> None:
    run_id = await begun(client, "short")
    await ended(client, run_id)
    run = await Run.objects.aget(pk=run_id)
    await database.run(store.discard, [run])
    for each in (run_id, uuid4()):
        assert await answers(client, each) == [404] * 4
    assert (await client.get("/answers/1/")).status_code == 404


# -- a log that is away


class AwayLog(ModelLog):
    def heads(self, channels: Any) -> dict[str, Head]:
        raise LogUnavailable("away")


async def test_without_the_log_it_is_503(client: AsyncClient, configure: Any) -> None:
    run_id = await begun(client, "short")
    await ended(client, run_id)
    configure(LOG=f"{__name__}.AwayLog")
    for response in (
        await client.get(f"/answers/{run_id}/"),
        await client.post(f"/answers/{run_id}/stop/"),
    ):
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
