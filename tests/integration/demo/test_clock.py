"""The clock's stream."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from django.test import AsyncClient, Client

from django_sse.wire import Decoder
from tests.integration.demo.streams import take

pytestmark = pytest.mark.django_db(transaction=True)


async def test_one_connecttime_then_the_time_again_and_again(async_client: AsyncClient) -> None:
    events = await take(await async_client.get("/clock/events/"), 4)
    assert [event.type for event in events] == ["connecttime"] + ["onTimeChanged"] * 3
    times = [datetime.fromisoformat(json.loads(event.data)["time"]) for event in events]
    assert times == sorted(times)
    assert 0.9 < (times[3] - times[2]).total_seconds() < 5


async def test_the_first_frame_tells_the_reconnection_time(async_client: AsyncClient) -> None:
    response: Any = await async_client.get("/clock/events/")
    decoder = Decoder()
    decoder.feed(await anext(aiter(response.streaming_content)))
    response.close()
    assert decoder.reconnection_time == 3000


def test_the_page_has_a_stop_button(client: Client) -> None:
    page = client.get("/clock/").content.decode()
    assert 'data-events="/clock/events/"' in page
    assert "data-stop" in page
