"""The log in the admin: what can be seen, and that nothing can be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path, reverse

from django_sse import Event, finish, publish, publish_many, redact
from django_sse.admin import EXCERPT, BoundedPaginator, ChannelAdmin, StoredEventAdmin
from django_sse.internal_channels import shown
from django_sse.models import Channel, Run, StoredEvent
from tests.unit.runs.support import new_run

urlpatterns = [path("admin/", admin.site.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

LISTS = ["channel", "storedevent", "run"]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def page(name: str, *args: object, query: str = "") -> str:
    return reverse(f"admin:django_sse_{name}", args=args) + query


def rows(response: Any) -> list[list[str]]:
    """The texts of a list's cells."""
    table = response.content.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    cells = (re.findall(r"<t[dh][ >].*?</t[dh]>", row, re.DOTALL) for row in table.split("</tr>"))
    texts = [[unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in cells]
    return [row for row in texts if row]


def links(response: Any) -> list[str]:
    return [unescape(href) for href in re.findall(r'href="([^"]+)"', response.content.decode())]


# -- looking


def test_channels_are_listed_newest_first(operator: Client) -> None:
    publish_many([("first", "1"), ("first", "2")])
    finish("second", "error")

    found = rows(operator.get(page("channel_changelist")))

    assert [row[:4] for row in found] == [
        ["second", "1 event", "1", "error"],
        ["first", "2 events", "2", "open"],
    ]


def test_events_are_listed_newest_first(operator: Client) -> None:
    publish("room", "one")
    publish("room", Event({"n": 2}, event="tick"))
    finish("room")

    found = rows(operator.get(page("storedevent_changelist")))

    assert [row[:5] for row in found] == [
        ["3", "room", "close", "[DONE]", "terminal event"],
        ["2", "room", "tick", '{"n":2}', "event"],
        ["1", "room", "message", "one", "event"],
    ]


def test_a_channel_leads_to_its_events_and_an_event_to_its_channel(operator: Client) -> None:
    publish_many([("a", "of a"), ("b", "of b"), ("a", "also of a")])
    channel = Channel.objects.get(name="a")
    event = StoredEvent.objects.get(data="of a")
    to_events = page("storedevent_changelist", query=f"?channel__id__exact={channel.pk}")
    to_channel = page("channel_change", channel.pk)

    for each in (page("channel_changelist"), to_channel):
        assert to_events in links(operator.get(each))
    for each in (page("storedevent_changelist"), page("storedevent_change", event.pk)):
        assert to_channel in links(operator.get(each))
    assert [row[3] for row in rows(operator.get(to_events))] == ["also of a", "of a"]


def test_long_data_is_cut_in_the_list_and_whole_on_its_page(operator: Client) -> None:
    text = "<b>" + "x" * 5000 + "\nthe end"
    publish("room", text)
    event = StoredEvent.objects.get()

    listed = operator.get(page("storedevent_changelist"))
    whole = operator.get(page("storedevent_change", event.pk)).content.decode()

    assert rows(listed)[0][3] == text[:EXCERPT] + "…"
    assert "&lt;b&gt;" + "x" * 5000 in whole
    assert "the end" in whole
    assert "<b>x" not in listed.content.decode() + whole


def test_data_of_exactly_the_excerpts_length_is_not_cut(operator: Client) -> None:
    publish("room", "x" * EXCERPT)

    assert rows(operator.get(page("storedevent_changelist")))[0][3] == "x" * EXCERPT


def test_a_list_does_not_load_whole_data(rf: RequestFactory) -> None:
    publish("room", "x" * 5000)
    request = rf.get("/")
    request.user = User.objects.create_superuser("operator")

    changes = StoredEventAdmin(StoredEvent, admin.site).get_changelist_instance(request)

    [event] = changes.result_list
    assert event.get_deferred_fields() == {"data"}
    assert len(event.beginning) == EXCERPT + 1


def test_a_page_of_events_costs_the_same_however_many_there_are(operator: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            operator.get(page("storedevent_changelist"))
        return len(queries)

    publish("room", "1")
    one = count()
    publish_many([(f"room-{number}", "x") for number in range(30)])

    assert count() == one


def test_a_redacted_event_is_shown_as_such(operator: Client) -> None:
    publish("room", "a secret")
    redact("room", 1)

    response = operator.get(page("storedevent_changelist"))

    assert rows(response)[0][4] == "redacted"
    assert operator.get(page("storedevent_change", StoredEvent.objects.get().pk)).status_code == 200


# -- searching


def test_a_run_is_listed_and_leads_to_its_channel(operator: Client) -> None:
    run = new_run("user:7", dialect="openai-chat")
    response = operator.get(page("run_changelist"))
    (row,) = rows(response)
    assert row[:4] == [str(run.pk), shown(run.channel), "user:7", "openai-chat"]
    (channels,) = [href for href in links(response) if "?name_hash=" in href]
    listed = operator.get(channels)
    assert [row[0] for row in rows(listed)] == [shown(run.channel)]
    (channel,) = [href for href in links(listed) if "/channel/" in href and "/change/" in href]
    for each in (response, listed, operator.get(channel)):
        assert "\x1f" not in each.content.decode()


def test_a_channel_is_found_by_its_name_and_else_by_a_part_of_it(operator: Client) -> None:
    publish_many([("order-7", "1"), ("order-78", "1"), ("chat", "1")])

    def found(query: str) -> list[str]:
        response = operator.get(page("channel_changelist", query=f"?q={query}"))
        return [row[0] for row in rows(response)]

    assert found("order-7") == ["order-7"]
    assert found("order") == found("ORDER") == ["order-78", "order-7"]


def test_runs_are_found_by_id_and_by_owner(operator: Client) -> None:
    one, other, third = new_run("user:7"), new_run("user:7"), new_run("user:70")

    def found(query: object) -> set[str]:
        response = operator.get(page("run_changelist", query=f"?q={query}"))
        return {row[0] for row in rows(response)}

    assert found(one.pk) == found(one.pk.hex) == {str(one.pk)}
    assert found("user:7") == {str(one.pk), str(other.pk)}
    assert found("user:70") == {str(third.pk)}
    assert found("user") == set()


@pytest.mark.parametrize(
    ("query", "expected"),
    [("tick", []), ("chat", ["3", "2"]), ("order-7", ["1"]), ("order", []), ("needle", [])],
)
def test_events_are_found_by_the_name_of_their_channel(
    operator: Client, query: str, expected: list[str]
) -> None:
    publish_many([("order-7", "1"), ("chat", Event("2", event="tick")), ("chat", "3")])
    publish("other", "needle")

    found = rows(operator.get(page("storedevent_changelist", query=f"?q={query}")))

    assert [row[3] for row in found] == expected


def test_channels_are_filtered_by_their_state(operator: Client) -> None:
    publish("open", "1")
    finish("done")

    channels = rows(operator.get(page("channel_changelist", query="?state__exact=done")))

    assert [row[0] for row in channels] == ["done"]


# -- tables of any size


@pytest.fixture
def three_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_sse.admin.MOST", 3)


@pytest.mark.usefixtures("three_at_most")
def test_no_more_rows_are_counted_than_can_be_paged_through() -> None:
    publish_many([("room", str(number)) for number in range(5)])
    events = StoredEvent.objects.order_by("pk")

    with CaptureQueriesContext(connection) as queries:
        assert BoundedPaginator(events, 2).count == 3

    assert "LIMIT 3" in queries[0]["sql"]
    assert BoundedPaginator(events.filter(seq=1), 2).count == 1


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("query", ["", "?q=room-1", "?_facets=True"])
@pytest.mark.usefixtures("three_at_most")
def test_a_list_counts_nothing_to_its_end(operator: Client, name: str, query: str) -> None:
    publish_many([(f"room-{number}", "x") for number in range(5)])

    with CaptureQueriesContext(connection) as queries:
        response = operator.get(page(f"{name}_changelist", query=query))

    counts = [each["sql"] for each in queries if "COUNT(" in each["sql"]]
    assert response.status_code == 200
    assert counts and all("LIMIT 3" in sql for sql in counts)


def test_the_logs_own_database_is_shown(rf: RequestFactory) -> None:
    request = rf.get("/")
    with override_settings(DJANGO_SSE={"DATABASE": "other"}):
        for model, model_admin in ((Channel, ChannelAdmin), (StoredEvent, StoredEventAdmin)):
            assert model_admin(model, admin.site).get_queryset(request).db == "other"


# -- nothing can be done


@pytest.fixture(params=["channel", "storedevent"])
def target(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    publish("room", "one")
    model = Channel if request.param == "channel" else StoredEvent
    before = list(Channel.objects.values()), list(StoredEvent.objects.values())
    yield request.param, model.objects.get().pk
    assert (list(Channel.objects.values()), list(StoredEvent.objects.values())) == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_nothing_can_be_added(operator: Client, target: tuple[str, int], method: str) -> None:
    assert getattr(operator, method)(page(f"{target[0]}_add")).status_code == 403


def test_nothing_can_be_changed(operator: Client, target: tuple[str, int]) -> None:
    name, pk = target
    url = page(f"{name}_change", pk)

    shown = operator.get(url)

    assert shown.status_code == 200
    assert b'name="_save"' not in shown.content
    assert operator.post(url, {"name": "other", "data": "other", "head": 0}).status_code == 403


@pytest.mark.parametrize("method", ["get", "post"])
def test_nothing_can_be_deleted(operator: Client, target: tuple[str, int], method: str) -> None:
    name, pk = target

    response = getattr(operator, method)(page(f"{name}_delete", pk), {"post": "yes"})

    assert response.status_code == 403


def test_there_are_no_actions(operator: Client, target: tuple[str, int]) -> None:
    name, pk = target
    url = page(f"{name}_changelist")

    assert b'name="action"' not in operator.get(url).content
    operator.post(url, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})


@pytest.mark.parametrize("name", LISTS)
def test_who_may_not_view_sees_nothing(client: Client, name: str) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(page(f"{name}_changelist")).status_code == 403

    staff.user_permissions.add(Permission.objects.get(codename=f"view_{name}"))
    assert client.get(page(f"{name}_changelist")).status_code == 200


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        (StoredEvent, "data__iregex"),
        (StoredEvent, "data__contains"),
        (StoredEvent, "type__regex"),
        (StoredEvent, "created__gt"),
        (Channel, "name__regex"),
        (Run, "owner__iregex"),
        (Run, "pk__regex"),
    ],
)
def test_an_address_asks_for_nothing_but_what_the_page_links_to(model: Any, lookup: str) -> None:
    request = RequestFactory().get("/", {lookup: "x"})
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    with pytest.raises(DisallowedModelAdminLookup):
        admin.site.get_model_admin(model).get_changelist_instance(request)
