"""The long job: its steps, its end, its owner."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import AsyncClient, Client

from demo_project.progress import jobs
from django_sse.models import Channel, StoredEvent
from tests.integration.demo.streams import everything, take

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = len(jobs.STAGES) * jobs.STEPS_A_STAGE


async def test_a_job_is_streamed_from_its_first_step_to_its_end(async_client: AsyncClient) -> None:
    created = await async_client.post("/progress/jobs/")
    assert created.status_code == 201
    job: dict[str, Any] = created.json()
    assert job["page"] == f"/progress/{job['id']}/"
    events = await everything(await async_client.get(f"{job['page']}events/"))
    steps = [json.loads(event.data) for event in events if event.type == "progress"]
    assert len(steps) == STEPS
    assert steps[-1] == {"percent": 100, "stage": jobs.STAGES[-1]}
    assert [step["percent"] for step in steps] == sorted(step["percent"] for step in steps)
    assert (events[-1].type, events[-1].data) == ("close", "[DONE]")


async def test_a_reload_gets_all_of_it_again_and_a_reconnect_after_the_end_204(
    async_client: AsyncClient,
) -> None:
    page = (await async_client.post("/progress/jobs/")).json()["page"]
    first = await everything(await async_client.get(f"{page}events/"))
    again = await everything(await async_client.get(f"{page}events/"))
    assert [event.data for event in again] == [event.data for event in first]
    last = {"last-event-id": first[-1].last_event_id}
    assert (await async_client.get(f"{page}events/", headers=last)).status_code == 204


async def test_a_reconnect_in_the_middle_goes_on_there(async_client: AsyncClient) -> None:
    page = (await async_client.post("/progress/jobs/")).json()["page"]
    begun = await take(await async_client.get(f"{page}events/"), 4)
    last = {"last-event-id": begun[-1].last_event_id}
    rest = await everything(await async_client.get(f"{page}events/", headers=last))
    steps = [event for event in [*begun, *rest] if event.type == "progress"]
    assert len(steps) == len({event.last_event_id for event in steps}) == STEPS


@pytest.mark.parametrize("path", ["", "events/"])
def test_a_job_of_another_session_is_404_and_makes_no_channel(client: Client, path: str) -> None:
    response = client.get(f"/progress/{uuid.uuid4()}/{path}")
    assert response.status_code == 404
    assert "no such job" in response.json()["error"]
    assert not Channel.objects.exists()


def test_what_is_no_job_id_is_404(client: Client) -> None:
    assert client.get("/progress/12/events/").status_code == 404


def test_a_job_that_fails_says_so_to_its_clients(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(channel: str, data: dict[str, Any], event: str) -> None:
        raise OSError("the river is too wide")

    monkeypatch.setattr(jobs, "publish", break_down)
    jobs.work(uuid.uuid4())
    last = StoredEvent.objects.get()
    assert last.type == "error"
    assert "river" not in last.data
    assert "the river is too wide" in caplog.text
