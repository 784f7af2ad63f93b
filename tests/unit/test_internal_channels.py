"""No public function and no view lets a project, or its clients, into an internal channel."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.test import AsyncClient, override_settings
from django.urls import path

import django_sse
from django_sse import ChannelStreamView
from django_sse.exceptions import InvalidChannel
from django_sse.log import get_log
from django_sse.log.base import Entry
from django_sse.models import OutboxEvent, Run
from django_sse.testing import published
from tests.appending import append_to

pytestmark = pytest.mark.django_db(transaction=True)

RUN = Run().channel
# Each takes a channel's name.
CALLS: dict[str, Callable[[str], object]] = {
    "publish": lambda name: django_sse.publish(name, "forged"),
    "apublish": lambda name: django_sse.apublish(name, "forged"),
    "publish_many": lambda name: django_sse.publish_many([("c", "x"), (name, "forged")]),
    "apublish_many": lambda name: django_sse.apublish_many([("c", "x"), (name, "forged")]),
    "finish": django_sse.finish,
    "afinish": lambda name: django_sse.afinish(name, "error"),
    "cursor": lambda name: django_sse.cursor("c", name),
    "acursor": lambda name: django_sse.acursor("c", name),
    "redact": lambda name: django_sse.redact(name, 1),
    "aredact": lambda name: django_sse.aredact(name, 1),
    "delete_channel": django_sse.delete_channel,
    "adelete_channel": django_sse.adelete_channel,
    "subscribe": lambda name: django_sse.subscribe("c", name),
    "Subscription": django_sse.Subscription,
}


class ByName(ChannelStreamView):
    def get_channels(self) -> list[str]:
        return [self.kwargs["name"]]


@django_sse.event_stream
def by_name(request: HttpRequest, name: str) -> Any:
    return django_sse.subscribe(name, since="earliest")


urlpatterns = [
    path("view/<name>/", ByName.as_view()),
    path("function/<name>/", by_name),
]


def test_every_public_function_that_takes_a_channel_is_tested() -> None:
    takes = {
        name
        for name in django_sse.__all__
        if callable(each := getattr(django_sse, name))
        and {"channel", "channels", "events"} & set(inspect.signature(each).parameters)
    }
    assert takes - {"ChannelStreamView"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_and_the_error_names_the_way_to_a_run(name: str) -> None:
    append_to(get_log(), [Entry(RUN, "", "said")])

    async def awaited() -> None:
        await CALLS[name](RUN)  # type: ignore[misc]

    is_async = inspect.iscoroutinefunction(getattr(django_sse, name))
    with pytest.raises(InvalidChannel, match=r"U\+001F.*django_sse\.urls"):
        async_to_sync(awaited)() if is_async else CALLS[name](RUN)
    assert published(RUN) == [("message", "said")]
    assert published("c") == []
    assert not OutboxEvent.objects.exists()


@pytest.mark.parametrize("view", ["view", "function"])
@pytest.mark.parametrize("method", ["get", "head"])
async def test_a_view_that_makes_the_name_from_its_url_answers_404(view: str, method: str) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        answer = getattr(AsyncClient(), method)
        for name in (RUN, f"{RUN}\n", f" {RUN}"):
            assert (await answer(f"/{view}/{quote(name)}/")).status_code == 404
