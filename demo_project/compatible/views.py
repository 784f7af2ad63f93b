"""One answer in five dialects: endpoints that the vendors' own SDKs speak to.

They are called by programs, which have no CSRF token, hence ``csrf_exempt``; an answer that costs
money would want a key or a log-in first.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from django_sse import event_stream
from django_sse.dialects import Start, Value

from ..errors import BadInput, submitted, text_field
from .answers import START, answer
from .prompts import prompt_of
from .runs import is_active, numbered, recalled, remember

MAX_ID = 200


@csrf_exempt
@require_POST
@event_stream(dialect="openai-chat")
async def chat_completions(request: HttpRequest) -> AsyncIterator[Value]:
    return answer(prompt_of(request))


@csrf_exempt
@require_POST
@event_stream(dialect="anthropic")
async def messages(request: HttpRequest) -> AsyncIterator[Value]:
    return answer(prompt_of(request))


@csrf_exempt
@require_POST
@event_stream(dialect="ag-ui", resumable=True)
async def agent(request: HttpRequest) -> AsyncIterator[Value]:
    fields = submitted(request)
    thread, run = (text_field(fields, name, MAX_ID) for name in ("threadId", "runId"))
    return answer(prompt_of(request), Start(id=run, thread=thread))


@event_stream(dialect="ai-sdk", resumable=True)
async def chat_answer(request: HttpRequest) -> AsyncIterator[Value]:
    return answer(prompt_of(request))


@csrf_exempt
@require_POST
async def chat(request: HttpRequest) -> HttpResponseBase:
    """An answer whose run is remembered: when the AI SDK resumes, it names the chat alone."""
    name = text_field(submitted(request), "id", MAX_ID)
    response: HttpResponseBase = await chat_answer(request)
    await remember(request, name, response)
    return response


@require_safe
async def chat_stream(request: HttpRequest, name: str) -> HttpResponseBase:
    """Where the AI SDK resumes: the whole run from its first event, or 204 when none is active."""
    run = await recalled(request, name)
    if run is None or not await is_active(run):
        return HttpResponse(status=204)
    return redirect("django_sse:run-events", run_id=run.pk)


@event_stream(dialect="openai-responses", resumable=True)
async def response_answer(request: HttpRequest, name: str) -> AsyncIterator[Value]:
    return answer(prompt_of(request, "input"), Start(id=name, model=START.model))


@csrf_exempt
@require_POST
async def responses(request: HttpRequest) -> HttpResponseBase:
    """An answer whose run is remembered by the id of the response."""
    name = f"resp_{secrets.token_hex(12)}"
    response: HttpResponseBase = await response_answer(request, name)
    await remember(request, name, response)
    return response


@require_safe
async def response_stream(request: HttpRequest, name: str) -> HttpResponseBase:
    """Where OpenAI's SDK goes on behind an event of which it has the number."""
    run = await recalled(request, name)
    if run is None:
        raise Http404(f"There is no response {name} of yours.")
    after = request.GET.get("starting_after", "")
    if not re.fullmatch("[0-9]{0,9}", after):
        raise BadInput('"starting_after" must be the number of an event.')
    url = reverse("django_sse:run-events", kwargs={"run_id": run.pk})
    if not after:
        return redirect(url)
    event = await numbered(run, int(after))
    if event is None:
        raise Http404(f"There is no event {after} of response {name}.")
    return redirect(f"{url}?last_event_id={event.event_id}")
