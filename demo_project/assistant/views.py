"""A prompt in, an answer out, token by token: an upstream's stream, relayed event for event."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from django_sse import Event, event_stream
from django_sse.relay import RelayError, UpstreamFormatError, relay

from ..errors import submitted, text_field
from ..upstream.behaviours import BEHAVIOURS
from .upstream import Upstream, configured, upstream_for

MAX_PROMPT = 2000
MAX_LINE = 64 * 1024


@require_safe
@ensure_csrf_cookie
def assistant_page(request: HttpRequest) -> HttpResponse:
    """The page; it says when the answers come from the stand-in."""
    context = {
        "stand_in": not configured(),
        "behaviours": BEHAVIOURS.items(),
        "max_prompt": MAX_PROMPT,
    }
    return render(request, "assistant/assistant.html", context)


@require_POST
@event_stream(terminal=None)  # the upstream's [DONE] is the end of the stream
async def answers(request: HttpRequest) -> AsyncIterator[Event]:
    fields = submitted(request)
    upstream = upstream_for(request, str(fields.get("behaviour", "answer")))
    return relayed(upstream, text_field(fields, "prompt", MAX_PROMPT))


async def relayed(upstream: Upstream, prompt: str) -> AsyncIterator[Event]:
    try:
        async with upstream.stream(prompt) as response:
            async for event in relay(response, until="[DONE]", max_line=MAX_LINE):
                yield checked(event)
    except (RelayError, httpx.HTTPError) as error:
        yield Event({"error": reason_of(error)}, event="error")


def checked(event: Event) -> Event:
    """``event``, unless it is no chunk of a chat completion: then ``UpstreamFormatError``."""
    if event.data == "[DONE]":
        return event
    try:
        chunk = json.loads(str(event.data))
    except (ValueError, RecursionError):
        raise UpstreamFormatError("The upstream sent an event that is not JSON.") from None
    if not isinstance(chunk, dict):
        raise UpstreamFormatError("The upstream sent JSON that is not an object.")
    return event


def reason_of(error: RelayError | httpx.HTTPError) -> str:
    """What went wrong, without the address, which may be private."""
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, httpx.TimeoutException):
        return "The upstream did not answer in time."
    if isinstance(error, httpx.ConnectError):
        return "The upstream could not be reached."
    return "The connection to the upstream failed."
