"""Views whose generators are runs: begun, left, resumed, refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import AsyncClient, Client, TestCase, override_settings
from django.urls import include, path

from django_sse import event_stream, subscribe
from django_sse.dialects import get_dialect
from django_sse.dialects.plain import Plain
from django_sse.exceptions import LogUnavailable
from django_sse.http import ahead
from django_sse.http.resumable import run_url
from django_sse.log import get_log
from django_sse.log.model import ModelLog
from django_sse.models import Channel, Run
from django_sse.process import database
from django_sse.process.background import get_background_loop
from django_sse.runs import store
from django_sse.runs.keeper import _keepers, get_keeper
from django_sse.testing import aread, read
from django_sse.wire import Decoder, Event, MessageEvent
from tests import looking
from tests.options import Overrides
from tests.positions import id_of, untagged
from tests.project import runs as project
from tests.unit.http.forms import call_in_thread
from tests.unit.http.support import asgi_request, wsgi_request
from tests.unit.hub.support import eventually

NEVER = "AAAAAAAAAAA-1"
EVENT_STREAM = "text/event-stream"


class Notes:
    """What the generators below tell of themselves."""

    begun = 0
    ended: list[str] = []


def _number(request: HttpRequest, name: str, default: float) -> float:
    return float(request.GET.get(name, default))


@event_stream(resumable=True)
async def answer(request: HttpRequest) -> AsyncIterator[str]:
    Notes.begun += 1
    try:
        for number in range(int(_number(request, "count", 5))):
            yield f"token {number}"
            await asyncio.sleep(_number(request, "pause", 0))
    finally:
        Notes.ended.append(request.GET.get("name", ""))


@event_stream(resumable=True)
def sync_answer(request: HttpRequest) -> Iterator[str]:
    Notes.begun += 1
    for number in range(int(_number(request, "count", 5))):
        yield f"token {number}"


@event_stream(resumable=True)
async def names(request: HttpRequest) -> AsyncIterator[str]:
    async for user in User.objects.order_by("username"):
        yield user.username


@event_stream(resumable=True)
def names_sync(request: HttpRequest) -> Iterator[str]:
    for user in User.objects.order_by("username"):
        yield user.username


urlpatterns = [
    path("answer/", answer),
    path("sync_answer/", sync_answer),
    path("names/", names),
    path("names_sync/", names_sync),
    path("run_fails/", project.fails),
    path("run_chat/", project.chat),
    path("runs/", include("django_sse.urls")),
]


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    Notes.begun = 0
    Notes.ended.clear()


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient()


def run_of(response: HttpResponseBase) -> UUID:
    return UUID(response["Location"].split("/")[2])


def texts(events: list[MessageEvent]) -> list[str]:
    return [event.data for event in events]


def tokens(count: int, first: int = 0) -> list[str]:
    return [*(f"token {number}" for number in range(first, count)), "[DONE]"]


live = pytest.mark.usefixtures("live")


# -- a new run


@live
@pytest.mark.parametrize("method", ["get", "post", "put"])
@pytest.mark.parametrize("name", ["answer", "sync_answer"])
async def test_a_request_starts_a_run_and_is_told_its_address(
    client: AsyncClient, method: str, name: str
) -> None:
    response = await getattr(client, method)(f"/{name}/?count=3")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    location = run_url("run-events", run_of(response))
    assert response["Location"] == response["Content-Location"] == location
    assert texts(await aread(response)) == tokens(3)
    # And there it is.
    assert texts(await aread(await client.get(location))) == tokens(3)


@live
async def test_each_request_starts_another(client: AsyncClient) -> None:
    first, second = [await client.post("/answer/?count=1") for _ in range(2)]
    assert run_of(first) != run_of(second)
    assert Notes.begun == 2


@live
async def test_a_client_that_left_finds_all_of_it(client: AsyncClient) -> None:
    response = await client.post("/answer/?count=20&pause=0.01&name=left")
    assert texts(await aread(response, 2)) == ["token 0", "token 1"]
    await eventually(lambda: Notes.ended == ["left"])
    assert texts(await aread(await client.get(response["Location"]))) == tokens(20)


@live
async def test_a_client_that_never_read_a_byte_finds_it_too(client: AsyncClient) -> None:
    response = await client.post("/answer/?count=5")
    response.close()
    assert texts(await aread(await client.get(response["Location"]))) == tokens(5)


@live
async def test_a_function_that_returns_an_iterable_will_do_and_its_checks_come_first() -> None:
    @event_stream(resumable=True)
    async def view(request: HttpRequest, ok: bool) -> Any:
        return ["one", "two"] if ok else HttpResponse("please log in", status=401)

    refused = await view(with_user(asgi_request("POST")), ok=False)
    assert (refused.status_code, await Run.objects.acount()) == (401, 0)
    assert texts(await aread(await view(with_user(asgi_request("POST")), ok=True))) == [
        "one",
        "two",
        "[DONE]",
    ]


def with_user(request: Any) -> Any:
    request.user = User(pk=7)
    return request


@live
async def test_the_end_can_be_another_event() -> None:
    @event_stream(resumable=True, terminal=Event({"ok": True}, event="finished"))
    async def view(request: HttpRequest) -> AsyncIterator[str]:
        yield "one"

    events = await aread(await view(with_user(asgi_request())))
    assert [(each.type, each.data) for each in events] == [
        ("message", "one"),
        ("finished", '{"ok":true}'),
    ]


def test_an_end_that_goes_unsaid_is_refused() -> None:
    with pytest.raises(TypeError, match="terminal must not be None"):

        @event_stream(resumable=True, terminal=None)
        async def view(request: HttpRequest) -> AsyncIterator[str]:
            yield "one"


@pytest.mark.parametrize(
    ("terminal", "message"),
    [
        (Event("bye", id="7"), "terminal event must not have an id"),
        (Event("bye", retry=5), "must not have a retry"),
    ],
)
def test_an_end_that_the_log_would_refuse_is_refused_at_once(terminal: Event, message: str) -> None:
    with pytest.raises(ValueError, match=message):

        @event_stream(resumable=True, terminal=terminal)
        async def view(request: HttpRequest) -> AsyncIterator[str]:
            yield "one"


def test_a_dialect_that_no_run_can_have_is_refused_by_itself() -> None:
    class Unlogged(Plain):
        def check_resumable(self) -> None:
            raise TypeError("its events must not be stored")

    with pytest.raises(TypeError, match="must not be stored"):

        @event_stream(resumable=True, dialect=Unlogged())
        async def view(request: HttpRequest) -> AsyncIterator[str]:
            yield "one"

    @event_stream(dialect=Unlogged())
    async def other(request: HttpRequest) -> AsyncIterator[str]:
        yield "one"


@pytest.mark.parametrize("value", ["connected", "yes", 2, [True]])
def test_what_resumable_can_be_is_said(value: Any) -> None:
    with pytest.raises(ValueError, match="while_connected"):

        @event_stream(resumable=value)
        async def view(request: HttpRequest) -> AsyncIterator[str]:
            yield "one"


@live
@pytest.mark.parametrize("result", [None, 5, "text", b"bytes", {"a": 1}])
async def test_a_view_that_returns_no_events_says_so(result: Any) -> None:
    @event_stream(resumable=True)
    async def view(request: HttpRequest) -> Any:
        return result

    with pytest.raises(TypeError, match=rf"iterable of events, not {type(result).__name__}"):
        await view(with_user(asgi_request()))
    assert await Run.objects.acount() == 0


@live
async def test_a_subscription_is_no_run() -> None:
    @event_stream(resumable=True)
    async def view(request: HttpRequest) -> Any:
        return subscribe("room")

    with pytest.raises(TypeError, match="not a subscription"):
        await view(with_user(asgi_request()))


@live
async def test_without_the_views_of_runs_nothing_is_begun(
    client: AsyncClient, settings: Any
) -> None:
    settings.ROOT_URLCONF = "tests.project.runs"
    with pytest.raises(ImproperlyConfigured, match=r'include\("django_sse.urls"\)'):
        await client.post("/run_chat/")
    assert (Notes.begun, await Run.objects.acount()) == (0, 0)


@live
async def test_without_sessions_and_users_nothing_is_begun() -> None:
    with pytest.raises(ImproperlyConfigured, match="SessionMiddleware"):
        await answer(asgi_request("POST"))
    assert (Notes.begun, await Run.objects.acount()) == (0, 0)


@live
@pytest.mark.parametrize("method", ["head", "options"])
async def test_head_and_options_start_nothing(client: AsyncClient, method: str) -> None:
    response = await getattr(client, method)("/answer/")
    assert (response.status_code, response.content, response.streaming) == (200, b"", False)
    assert (Notes.begun, await Run.objects.acount()) == (0, 0)


# -- what goes wrong before the stream


@live
async def test_a_404_before_the_first_item_is_a_404_and_there_was_no_run(
    client: AsyncClient,
) -> None:
    response = await client.post("/run_fails/?at=missing")
    assert response.status_code == 404
    assert (await Run.objects.acount(), await Channel.objects.acount()) == (0, 0)


@live
async def test_an_error_before_it_is_djangos_to_answer(client: AsyncClient) -> None:
    with pytest.raises(RuntimeError, match="secret"):
        await client.post("/run_fails/?at=first")
    assert await Run.objects.acount() == 0


@live
async def test_a_text_for_the_client_before_it_is_sent(client: AsyncClient) -> None:
    response = await client.post("/run_fails/?at=text")
    assert response.status_code == 200
    assert b'"out of paper"' in response.content
    assert "Location" not in response
    assert await Run.objects.acount() == 0


@live
@pytest.mark.parametrize("at", ["middle", "finally", "cannot"])
async def test_an_error_behind_it_is_in_the_stream_and_in_every_replay(
    client: AsyncClient, at: str
) -> None:
    response = await client.post(f"/run_fails/?at={at}")
    (first, last) = await aread(response)
    assert (first.data, last.type) == ("token 0", "error")
    assert json.loads(last.data) == {"error": "The stream failed.", "code": "error"}
    assert await aread(await client.get(response["Location"])) == [first, last]


@live
@pytest.mark.options(RUNS_PER_OWNER=3)
async def test_a_run_too_many_is_429_and_says_when_to_come_back(client: AsyncClient) -> None:
    responses = [await client.post("/answer/?count=2&pause=600") for _ in range(4)]
    *begun, refused = responses
    assert [each.status_code for each in begun] == [200] * 3
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert "too many answers" in refused.json()["error"]
    assert Notes.begun == 3
    # Somebody else's do not count.
    assert (await AsyncClient().post("/answer/?count=1")).status_code == 200
    stopped = run_of(begun[0])
    await client.post(run_url("run-stop", stopped))
    await eventually(lambda: stopped not in get_keeper().tasks)
    assert (await client.post("/answer/?count=1")).status_code == 200


@live
@pytest.mark.options(RUNS_PER_OWNER=5)
async def test_of_a_hundred_at_once_as_many_as_allowed_begin(client: AsyncClient) -> None:
    # The session is there before.
    await aread(await client.post("/answer/?count=1"))
    await eventually(lambda: not get_keeper().tasks)
    responses = await asyncio.gather(
        *[client.post("/answer/?count=2&pause=600") for _ in range(100)]
    )
    statuses = sorted(each.status_code for each in responses)
    assert statuses == [200] * 5 + [HTTPStatus.TOO_MANY_REQUESTS] * 95
    assert Notes.begun == 6


@live
@pytest.mark.options(RUNS_PER_PROCESS=2)
async def test_a_run_too_many_for_the_process_is_503_or_for_an_event_source_a_later_time(
    client: AsyncClient,
) -> None:
    for _ in range(2):
        assert (await AsyncClient().post("/answer/?count=2&pause=600")).status_code == 200
    refused = await client.post("/answer/?count=1")
    assert refused.status_code == 503
    assert int(refused["Retry-After"]) > 0
    later = await client.get("/answer/?count=1", headers={"Accept": EVENT_STREAM})
    assert later.status_code == 200
    assert b"stream-retry" in later.content
    assert Notes.begun == 2
    assert await Run.objects.acount() == 2


class AwayLog(ModelLog):
    def make(self, channels: Any) -> Any:
        raise LogUnavailable("away")


@live
async def test_without_its_log_it_is_503_or_for_an_event_source_a_later_time(
    client: AsyncClient, configure: Overrides
) -> None:
    configure(LOG=f"{__name__}.AwayLog")
    response = await client.post("/answer/")
    assert (response.status_code, Notes.begun) == (503, 0)
    response = await client.get("/answer/", headers={"Accept": "text/event-stream"})
    assert (response.status_code, Notes.begun) == (200, 0)
    assert b"stream-retry" in response.content


class FickleLog(ModelLog):
    """Is away from the second time that a channel is asked for: a run has begun by then."""

    opened = 0
    away_for = 0

    def open(self, channels: Any) -> Any:
        cls = type(self)
        cls.opened += 1
        if 1 < cls.opened <= 1 + cls.away_for:
            raise LogUnavailable("away")
        return super().open(channels)


def lose_the_log(configure: Overrides, times: int) -> None:
    configure(LOG=f"{__name__}.FickleLog")
    FickleLog.opened, FickleLog.away_for = 0, times


@live
@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_run_that_has_begun_is_found_though_the_log_went_away(
    client: AsyncClient, configure: Overrides, method: str
) -> None:
    lose_the_log(configure, 1000)
    response = await getattr(client, method)("/answer/?count=3", headers={"Accept": EVENT_STREAM})
    # No 503, which SDKs answer with a second question.
    assert response.status_code == 200
    assert response["Location"] == response["Content-Location"]
    (event,) = await aread(response)
    assert event.type == "stream-retry"
    FickleLog.away_for = 0
    # Where an EventSource comes back to, and where our own client does.
    for url in ("/answer/?count=3", response["Location"]):
        again = await client.get(url, headers={"Last-Event-ID": event.last_event_id})
        assert texts(await aread(again)) == tokens(3)
    assert Notes.begun == 1


@live
@pytest.mark.parametrize(("accept", "told"), [(EVENT_STREAM, "stream-retry"), ("*/*", "message")])
async def test_in_a_dialect_it_is_found_too_or_an_error(
    client: AsyncClient, configure: Overrides, accept: str, told: str
) -> None:
    lose_the_log(configure, 1000)
    response = await client.get("/run_chat/?count=3", headers={"Accept": accept})
    assert response.status_code == 200
    (event, *more) = await aread(response)
    assert (event.type, more) == (told, [])
    assert ("error" in event.data) is (told == "message")
    FickleLog.away_for = 0
    if told == "stream-retry":
        position = {"Last-Event-ID": event.last_event_id}
        again = await client.get("/run_chat/?count=3", headers=position)
        assert again["Location"] == response["Location"]
        assert len(await aread(again)) > 3
    assert await Run.objects.acount() == 1


@live
async def test_a_log_that_was_away_for_a_moment_is_no_matter(
    client: AsyncClient, configure: Overrides
) -> None:
    lose_the_log(configure, 1)
    response = await client.post("/answer/?count=3")
    assert texts(await aread(response)) == tokens(3)


# -- back to it


@live
async def test_the_view_itself_goes_on_with_the_run_of_a_position(client: AsyncClient) -> None:
    response = await client.get("/answer/?count=5")
    seen = (await aread(response, 2))[-1].last_event_id
    again = await client.get("/answer/?count=5", headers={"Last-Event-ID": seen})
    assert texts(await aread(again)) == tokens(5, first=2)
    assert again["Location"] == response["Location"]
    assert Notes.begun == 1


@live
@pytest.mark.parametrize("parameter", ["last_event_id", "lastEventId"])
async def test_a_position_in_the_query_is_one(client: AsyncClient, parameter: str) -> None:
    response = await client.get("/answer/?count=5")
    (*_, event) = await aread(response, 3)
    again = await client.get(f"/answer/?count=5&{parameter}={event.last_event_id}")
    assert texts(await aread(again)) == tokens(5, first=3)
    assert Notes.begun == 1


@live
async def test_who_has_seen_the_end_gets_204_from_the_view_and_from_the_runs(
    client: AsyncClient,
) -> None:
    response = await client.get("/answer/?count=2")
    (*_, last) = await aread(response)
    for url in ("/answer/?count=2", response["Location"]):
        for position in (last.last_event_id, "!end"):
            again = await client.get(url, headers={"Last-Event-ID": position})
            assert (again.status_code, again["Cache-Control"]) == (204, "no-store")
    assert Notes.begun == 1


@live
async def test_of_its_own_runs_it_is_the_one_of_the_position(client: AsyncClient) -> None:
    first = await client.get("/answer/?count=3")
    (seen,) = await aread(first, 1)
    await client.get("/sync_answer/?count=9")
    again = await client.get("/sync_answer/?count=9", headers={"Last-Event-ID": seen.last_event_id})
    assert again["Location"] == first["Location"]
    assert texts(await aread(again)) == tokens(3, first=1)


@live
async def test_a_position_that_is_gone_or_not_theirs_starts_no_second_run(
    client: AsyncClient,
) -> None:
    other = await AsyncClient().get("/answer/?count=3")
    (theirs,) = await aread(other, 1)
    gone = await client.get("/answer/?count=3")
    (*_, lost) = await aread(gone)
    run = await Run.objects.aget(pk=run_of(gone))
    await database.run(store.discard, [run])
    begun = Notes.begun
    for position in (theirs.last_event_id, lost.last_event_id, NEVER, "nonsense", "1", "ü"):
        response = await client.get("/answer/?count=3", headers={"Last-Event-ID": position})
        assert (response.status_code, response["Cache-Control"]) == (204, "no-store"), position
    assert Notes.begun == begun == 2


@live
async def test_an_over_long_position_is_a_bad_request(client: AsyncClient) -> None:
    response = await client.get("/answer/", headers={"Last-Event-ID": "x" * 1281})
    assert (response.status_code, Notes.begun) == (400, 0)


@live
async def test_a_run_of_which_a_part_was_trimmed_has_nothing_more(client: AsyncClient) -> None:
    response = await client.get("/answer/?count=9")
    events = await aread(response)
    channel = Run(pk=run_of(response)).channel
    await database.run(lambda: get_log().trim(channel, count=3))
    early = {"Last-Event-ID": events[2].last_event_id}
    assert (await client.get("/answer/", headers=early)).status_code == 204
    assert (await client.get(response["Location"])).status_code == 204
    late = {"Last-Event-ID": events[7].last_event_id}
    assert texts(await aread(await client.get("/answer/", headers=late))) == tokens(9, first=8)
    assert Notes.begun == 1


# -- a dialect


@live
async def test_in_a_dialect_the_frames_are_its_own_and_have_positions(client: AsyncClient) -> None:
    response = await client.post("/run_chat/?count=4")
    events = await aread(response, opening=True)
    assert {event.type for event in events} == {"message"}
    run = await Run.objects.aget(pk=run_of(response))
    assert [untagged(event.last_event_id) for event in events] == [
        f"{run.epoch}-{seq}" for seq in range(1, len(events) + 1)
    ]
    decoder = get_dialect("openai-chat").decoder()
    values = [value for each in events for value in decoder.decode(Event(each.data))]
    decoder.end()
    spoken = [value for value in values if isinstance(value, str)]
    assert "".join(spoken) == "token 0 token 1 token 2 token 3 "
    for seen, rest in ((events[1], events[2:]), (events[-2], events[-1:])):
        position = {"Last-Event-ID": seen.last_event_id}
        again = await client.get(response["Location"], headers=position)
        assert await aread(again, opening=True) == rest


@live
async def test_the_headers_of_a_dialect_are_sent_on_every_replay(client: AsyncClient) -> None:
    @event_stream(resumable=True, dialect="ai-sdk")
    async def view(request: HttpRequest) -> AsyncIterator[str]:
        yield "one"

    response = await view(with_user(asgi_request()))
    assert response["x-vercel-ai-ui-message-stream"] == "v1"
    request = with_user(asgi_request(Last_Event_ID=(await aread(response, 1))[0].last_event_id))
    assert (await view(request))["x-vercel-ai-ui-message-stream"] == "v1"


async def told_to_stop(response: Any) -> tuple[bytes, bytes]:
    """What a client had before the server said goodbye, and what it got then."""
    body = aiter(response)
    first = await anext(body)
    response.stream.drain()
    return first, b"".join([chunk async for chunk in body])


@live
@pytest.mark.parametrize(
    ("method", "accept", "is_told"),
    [
        ("get", EVENT_STREAM, False),
        ("get", "*/*", True),
        ("post", "application/json", True),
        # @ag-ui/client takes half an answer that ends in good order for a whole one.
        ("post", EVENT_STREAM, True),
    ],
)
async def test_told_to_stop_a_client_that_does_not_come_back_hears_it_in_the_dialect(
    client: AsyncClient, method: str, accept: str, is_told: bool
) -> None:
    ask = getattr(client, method)
    response = await ask("/run_chat/?count=2&pause=600", headers={"Accept": accept})
    first, rest = await told_to_stop(response)
    assert b"token 0" in first
    assert (b"error" in rest) is is_told
    assert b"stream-" not in first + rest


@live
@pytest.mark.parametrize(("accept", "is_told"), [(EVENT_STREAM, False), ("*/*", True)])
async def test_at_the_address_of_the_run_it_is_the_same(
    client: AsyncClient, accept: str, is_told: bool
) -> None:
    begun: Any = await client.post("/run_chat/?count=2&pause=600")
    response = await client.get(begun["Location"], headers={"Accept": accept})
    begun.close()
    first, rest = await told_to_stop(response)
    assert b"token 0" in first
    assert (b"error" in rest) is is_told


@live
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("accept", [EVENT_STREAM, "*/*"])
async def test_without_a_dialect_everybody_is_told_when_to_come_back(
    client: AsyncClient, method: str, accept: str
) -> None:
    ask = getattr(client, method)
    response = await ask("/answer/?count=2&pause=600", headers={"Accept": accept})
    *_, event = Decoder().feed(b"".join(await told_to_stop(response)))
    assert event.type == "stream-retry"
    seen = {"Accept": accept, "Last-Event-ID": event.last_event_id}
    again = await client.get(response["Location"], headers=seen)
    assert again.status_code == 200
    again.close()
    assert Notes.begun == 1


# -- under WSGI


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["answer", "sync_answer"])
@pytest.mark.usefixtures("configure")
@pytest.mark.options(LEASE=0.3, TOPIC_LINGER=0.0, HEARTBEAT=0.1)
def test_under_wsgi_a_run_lives_on_the_background_loop(name: str) -> None:
    view = {"answer": answer, "sync_answer": sync_answer}[name]
    response = call_in_thread(view, with_user(wsgi_request("POST", "/?count=6&pause=0.01")))
    chunks = iter(response)
    assert b"stream-open" in next(chunks)
    response.close()
    run = Run.objects.get()
    looking.eventually(lambda: store.state(run)[0] == "done", lambda: store.state(run))
    request = with_user(wsgi_request(Last_Event_ID=id_of(run.channel, 2)))
    again = call_in_thread(view, request)
    assert again["Location"] == response["Location"]
    body = b"".join(chunk for chunk in again if chunk != b":\n")
    assert body.count(b"data: token") == 4
    _wait_for_the_background()


def _wait_for_the_background() -> None:
    """It outlives the test, and must not look for this test's runs in the next."""
    loop = get_background_loop().loop
    keeper = _keepers.running().get(loop)
    assert keeper is not None
    looking.eventually(
        lambda: all(task.done() for task in keeper._keeping.values()), lambda: keeper.tasks
    )


# -- users' tests


@override_settings(ROOT_URLCONF=__name__)
class TestInsideAUsersTestCase(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        for name in ("anna", "ben"):
            User.objects.create(username=name)

    async def test_the_async_client_reads_a_run_and_its_page(self) -> None:
        for url in ("/names/", "/names_sync/"):
            response = await self.async_client.post(url)
            assert texts(await aread(response)) == ["anna", "ben", "[DONE]"]
            again = await self.async_client.get(response["Location"])
            assert texts(await aread(again)) == ["anna", "ben", "[DONE]"]
            page = await self.async_client.get(run_url("run-status", run_of(response)))
            assert (page.json()["state"], page.json()["events"]) == ("done", 3)

    def test_the_sync_client_does_too(self) -> None:
        for url in ("/names/", "/names_sync/"):
            response = self.client.post(url)
            assert texts(read(response)) == ["anna", "ben", "[DONE]"]
            assert texts(read(self.client.get(response["Location"]))) == ["anna", "ben", "[DONE]"]
            page = self.client.get(run_url("run-status", run_of(response)))
            assert (page.json()["state"], page.json()["events"]) == ("done", 3)

    def test_a_run_of_another_is_not_found(self) -> None:
        response = self.client.post("/names/")
        self.client.logout()
        assert Client().get(response["Location"]).status_code == 404

    async def test_a_stop_ends_it(self) -> None:
        response = await self.async_client.post("/answer/?count=2&pause=600")
        stopped = await self.async_client.post(run_url("run-stop", run_of(response)))
        assert stopped.json() == {"stopped": True}
        (_, last) = await aread(response)
        assert json.loads(last.data)["code"] == "aborted"

    def test_nothing_of_another_test_is_left(self) -> None:
        assert Run.objects.count() == 0


@pytest.mark.django_db
def test_in_a_testcase_a_run_that_does_not_end_keeps_its_client_for_no_longer_than_it_reads_ahead(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its end could only be written in the thread that waits for it."""
    monkeypatch.setattr(ahead, "SECONDS", 0.1)
    Client().post("/answer/?count=2&pause=600")
    assert Notes.ended == [""]
    assert "in time" not in caplog.text


# -- what a generator that outlives its request must not share with it


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_nothing_is_begun_and_it_says_what_to_do() -> None:
    request = with_user(wsgi_request("POST"))
    with transaction.atomic(), pytest.raises(ImproperlyConfigured, match="non_atomic_requests"):
        names_sync(request)
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_a_shared_cache_keeps_nothing_of_a_run(client: AsyncClient) -> None:
    response = await client.post("/answer/")
    assert "private" in response["Cache-Control"].split(", ")
