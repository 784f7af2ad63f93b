"""A conversation whose answers survive reloads, cuts and the death of a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from django_sse import (
    Subscription,
    aowner_of,
    cursor,
    event_stream,
    owner_of,
    publish,
    subscribe,
)
from django_sse.relay import relay

from ..errors import submitted, text_field
from ..upstream.behaviours import BEHAVIOURS
from .models import Exchange, Recording, channel_of, conversation_of
from .upstream import Upstream, configured, upstream_for
from .workers import kill_soon, why_not

MAX_PROMPT = 2000
MAX_KEY = 40


@require_safe
@ensure_csrf_cookie
def assistant_page(request: HttpRequest) -> HttpResponse:
    """The conversation so far; of an answer in progress the page has the address of its run."""
    owner = owner_of(request)
    # The cursor first: what is asked meanwhile then comes twice, and the page knows it by its id.
    position = cursor(channel_of(owner))
    context = {
        "cursor": position,
        "owner": owner,
        "conversation": conversation_of(owner),
        "unasked": Exchange(state=""),
        "stand_in": not configured(),
        "behaviours": BEHAVIOURS.items(),
        "max_prompt": MAX_PROMPT,
        "process": os.getpid(),
        "why_no_kill": why_not(),
    }
    return render(request, "assistant/assistant.html", context)


@event_stream
def events(request: HttpRequest) -> Subscription:
    """What is asked and answered in any window of the conversation."""
    return subscribe(channel_of(owner_of(request)))


@event_stream(resumable=True)
async def answer(
    request: HttpRequest,
    asked: Exchange,
    upstream: Upstream,
) -> AsyncIterator[str]:
    async with Recording(asked) as recording, upstream.stream(asked) as response:
        async for value in relay(response, dialect="openai-chat"):
            if text := recording.text(value):
                yield text


@require_POST
async def answers(request: HttpRequest) -> HttpResponseBase:
    """A question, answered by the stream of a run that any window can join."""
    fields = submitted(request)
    asked = Exchange(
        owner=await aowner_of(request),
        question=text_field(fields, "prompt", MAX_PROMPT),
        process=os.getpid(),
    )
    key = text_field(fields, "key", MAX_KEY) if "key" in fields else ""
    upstream = upstream_for(request, str(fields.get("behaviour", "answer")))
    # Who reloads before the first word has cancelled this request, and wants the answer still.
    return await asyncio.shield(begin(request, asked, upstream, key))


async def begin(
    request: HttpRequest, asked: Exchange, upstream: Upstream, key: str
) -> HttpResponseBase:
    """The answer's stream; the address of its run is kept by then."""
    response: HttpResponseBase = await answer(request, asked, upstream)
    if asked.pk is not None:
        await asked.begun(response.headers.get("Location", ""), key)
    return response


@require_POST
def forget(request: HttpRequest) -> HttpResponse:
    """Begin anew, in all windows; the page has stopped what was on its way."""
    owner = owner_of(request)
    Exchange.objects.filter(owner=owner).delete()
    publish(channel_of(owner), {}, event="forgotten")
    return JsonResponse({"forgotten": True})


@require_POST
async def kill(request: HttpRequest, pk: int) -> HttpResponse:
    """Kill the process that runs an answer; the demo only, and only where others take over."""
    owner = await aowner_of(request)
    asked = await Exchange.objects.filter(owner=owner, pk=pk).afirst()
    if asked is None:
        raise Http404("There is no such answer in this conversation.")
    if asked.state != Exchange.State.OPEN:
        return JsonResponse({"error": "The answer has ended: nothing runs any more."}, status=409)
    kill_soon(asked.process)
    return JsonResponse({"process": asked.process}, status=202)
