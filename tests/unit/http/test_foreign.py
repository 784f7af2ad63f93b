"""Requests of pages of other sites: what they cannot start, and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from django_sse import event_stream, subscribe
from django_sse.testing import aread
from tests.unit.runs.conftest import configure, live

__all__ = ["configure", "live"]

pytestmark = pytest.mark.usefixtures("live")

ORIGIN = "https://app.example.com"

begun: list[str] = []


@event_stream(resumable=True)
async def answer(request: HttpRequest) -> AsyncIterator[str]:
    begun.append("answer")
    yield "token"


@event_stream(resumable=True)
def sync_answer(request: HttpRequest) -> Iterator[str]:
    begun.append("sync_answer")
    yield "token"


@event_stream(resumable=True)
async def function(request: HttpRequest) -> Any:
    begun.append("function")
    return ["token"]


@csrf_exempt
@event_stream(resumable=True)
async def exempt(request: HttpRequest) -> AsyncIterator[str]:
    begun.append("exempt")
    yield "token"


@event_stream
async def plain(request: HttpRequest) -> AsyncIterator[str]:
    begun.append("plain")
    yield "token"


@event_stream
def sync_plain(request: HttpRequest) -> Iterator[str]:
    begun.append("sync_plain")
    yield "token"


@event_stream
async def channel(request: HttpRequest) -> Any:
    return subscribe("room")


@event_stream
async def picture(request: HttpRequest) -> Any:
    return HttpResponse("a picture")


views = [answer, sync_answer, function, exempt, plain, sync_plain, channel, picture]
urlpatterns: list[Any] = [path(f"{view.__name__}/", view) for view in views]
urlpatterns.append(path("runs/", include("django_sse.urls")))


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    begun.clear()


def fetch(site: str, mode: str = "cors", **others: str) -> dict[str, str]:
    """What a browser sends: the site of the page that asks, and the mode."""
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, **others}


async def get(name: str, headers: dict[str, str], method: str = "get") -> Any:
    response = await getattr(AsyncClient(), method)(f"/{name}/", headers=headers)
    response.close()
    return response


REFUSED = {
    "a fetch or an EventSource of another site": fetch("cross-site"),
    "one of another domain of this site": fetch("same-site"),
    "a link, a form or a frame of another site": fetch("cross-site", "navigate"),
    "a link of another domain of this site": fetch("same-site", "navigate"),
    "an image of another site": fetch("cross-site", "no-cors"),
    "an image that a user put on a page of this site": fetch("same-origin", "no-cors"),
    "a site that is none of the four": fetch("elsewhere"),
    "a prefetch": fetch("same-origin", "no-cors", **{"Sec-Purpose": "prefetch"}),
    "a prerender": fetch("none", "navigate", **{"Sec-Purpose": "prefetch;prerender"}),
    "a prefetch of an older browser": {"Purpose": "prefetch"},
}
TAKEN = {
    "curl, or an old browser": {},
    "a page of this origin": fetch("same-origin"),
    "a link of this origin": fetch("same-origin", "navigate"),
    "the address bar": fetch("none", "navigate"),
    "a script with a token of its own": fetch("cross-site", Authorization="Bearer 1"),
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("name", ["answer", "sync_answer", "function"])
async def test_a_run_is_not_started_for_a_page_of_another_site(
    name: str, headers: dict[str, str]
) -> None:
    response = await get(name, headers)
    assert (response.status_code, begun) == (403, [])
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("headers", TAKEN.values(), ids=TAKEN)
async def test_a_run_is_started_for_the_site_itself(headers: dict[str, str]) -> None:
    assert (await get("answer", headers)).status_code == 200
    assert begun == ["answer"]


def test_a_run_is_not_started_for_another_site_under_wsgi() -> None:
    response = Client().get("/sync_answer/", headers=fetch("cross-site"))
    assert (response.status_code, begun) == (403, [])


@pytest.mark.parametrize("scheme", ["Basic YTpi", "Negotiate abc", "Digest x", "Bearer", ""])
async def test_an_authorization_that_a_browser_adds_does_not_help(scheme: str) -> None:
    response = await get("answer", fetch("cross-site", Authorization=scheme))
    assert (response.status_code, begun) == (403, [])


async def test_an_authorization_beside_cookies_does_not_help() -> None:
    # CORS may allow any origin to send both; the cookies are the visitor's.
    headers = fetch("cross-site", Authorization="Bearer junk", Cookie="sessionid=1")
    assert (await get("answer", headers)).status_code == 403
    assert begun == []


async def test_the_answer_says_how_to_allow_it() -> None:
    response = await get("answer", fetch("cross-site"))
    assert "CSRF_TRUSTED_ORIGINS" in response.content.decode()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("trusted", [ORIGIN, "https://*.example.com"])
async def test_a_trusted_origin_may_start_a_run(settings: Any, trusted: str, site: str) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [trusted]
    assert (await get("answer", fetch(site, Origin=ORIGIN))).status_code == 200
    others = ["https://example.org", "http://app.example.com", "null", "https://[", f"{ORIGIN}:1"]
    for other in others:
        assert (await get("answer", fetch(site, Origin=other))).status_code == 403
    # A link has no Origin.
    assert (await get("answer", fetch(site, "navigate"))).status_code == 403
    assert begun == ["answer"]


@pytest.mark.parametrize(("name", "status"), [("answer", 403), ("exempt", 200)])
async def test_a_post_from_another_site_needs_a_view_with_csrf_exempt(
    name: str, status: int
) -> None:
    assert (await get(name, fetch("cross-site"), "post")).status_code == status


async def test_csrf_exempt_allows_no_get_from_another_site() -> None:
    assert (await get("exempt", fetch("cross-site"))).status_code == 403


async def test_a_page_of_another_site_may_resume_what_cors_lets_it_read() -> None:
    client = AsyncClient()
    response: Any = await client.get("/answer/")
    seen = {"Last-Event-ID": (await aread(response))[0].last_event_id}
    resumed: Any = await client.get("/answer/", headers=fetch("cross-site") | seen)
    assert resumed.status_code == 200
    assert [event.data for event in await aread(resumed)] == ["[DONE]"]
    assert begun == ["answer"]


@pytest.mark.parametrize("name", ["plain", "sync_plain", "channel"])
async def test_a_stream_is_not_sent_to_what_cannot_read_it(name: str) -> None:
    for headers in (fetch("cross-site", "no-cors"), {"Purpose": "prefetch"}):
        assert (await get(name, headers)).status_code == 403
    assert begun == []


@pytest.mark.parametrize("name", ["plain", "sync_plain", "channel"])
async def test_a_stream_is_sent_to_another_site_and_cors_says_who_reads_it(name: str) -> None:
    assert (await get(name, fetch("cross-site"))).status_code == 200


async def test_a_response_that_is_no_stream_is_sent_to_an_image() -> None:
    assert (await get("picture", fetch("same-origin", "no-cors"))).status_code == 200
