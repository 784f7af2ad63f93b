"""The runs behind the names that vendors' clients give to answers; the session remembers them."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import resolve

from django_sse.models import Channel, Run, State, StoredEvent


async def remember(request: HttpRequest, name: str, response: HttpResponseBase) -> None:
    """From now on the run that ``response`` started, if it did, has that name in this session."""
    if "Location" in response:
        run_id = resolve(response["Location"]).kwargs["run_id"]
        await request.session.aset(f"run:{name}", str(run_id))


async def recalled(request: HttpRequest, name: str) -> Run | None:
    """The run of that name; None where there is none."""
    run_id = await request.session.aget(f"run:{name}")
    return None if run_id is None else await Run.objects.filter(pk=run_id).afirst()


async def numbered(run: Run, number: int) -> StoredEvent | None:
    """The event with OpenAI's number, which begins at 0; a channel's events begin at 1."""
    events = StoredEvent.objects.select_related("channel")
    return await events.filter(channel__name=run.channel, seq=number + 1).afirst()


async def is_active(run: Run) -> bool:
    """Whether it goes on: how a run ended is the state of its channel."""
    return await Channel.objects.filter(name=run.channel, state=State.OPEN).aexists()
