"""Five events, resumed by their ids, and the 204 after the last."""

from __future__ import annotations

import pytest
from django.test import AsyncClient

from tests.integration.demo.streams import everything

pytestmark = pytest.mark.django_db(transaction=True)


async def test_five_events_with_ids_and_no_terminal_frame(async_client: AsyncClient) -> None:
    events = await everything(await async_client.get("/interval/events/"))
    assert [(event.type, event.last_event_id) for event in events] == [
        ("message", str(number)) for number in range(1, 6)
    ]


@pytest.mark.parametrize("last", [1, 2, 3, 4])
async def test_a_reconnect_goes_on_after_the_last_id(async_client: AsyncClient, last: int) -> None:
    response = await async_client.get("/interval/events/", headers={"last-event-id": str(last)})
    ids = [event.last_event_id for event in await everything(response)]
    assert ids == [str(number) for number in range(last + 1, 6)]


async def test_after_the_fifth_the_view_answers_204(async_client: AsyncClient) -> None:
    response = await async_client.get("/interval/events/", headers={"last-event-id": "5"})
    assert response.status_code == 204
    assert response.content == b""


@pytest.mark.parametrize("position", ["6", "0", "-1", "05", "٣", "x", "1.0"])
async def test_an_id_that_is_not_ours_starts_from_the_beginning(
    async_client: AsyncClient, position: str
) -> None:
    response = await async_client.get("/interval/events/", {"last_event_id": position})
    assert (await everything(response))[0].last_event_id == "1"
