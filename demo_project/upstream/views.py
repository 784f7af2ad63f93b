"""A stand-in for a service that speaks OpenAI's streaming chat completions.

It answers from a handful of sentences, at a human pace, and cuts its bytes across frames on
purpose, as networks do: who relays it must put them together again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from django_sse import Event

from ..errors import BadInput, submitted, text_field
from ..pace import paced
from .behaviours import BEHAVIOURS
from .chunks import completion, cut
from .composer import compose, tokens

MAX_PROMPT = 8000
# About 25 tokens a second: a chunk is two cuts long.
SECONDS_A_CUT = 0.022
# What a busy service asks for.
RETRY_AFTER = 3


@csrf_exempt  # other servers call it, without cookies
@require_POST
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """``POST {"model", "stream": true, "messages": [{"role", "content"}]}``."""
    try:
        model, prompt = read_request(submitted(request))
    except BadInput as error:
        return failure(str(error), "invalid_request_error", error.status)
    if model == "status":
        return failure("The stand-in was asked to fail.", "server_error", 500)
    if model == "busy":
        refused = failure("The stand-in was asked to be busy.", "rate_limit_exceeded", 429)
        refused["Retry-After"] = str(RETRY_AFTER)
        return refused
    response = StreamingHttpResponse(body(model, prompt), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


def read_request(fields: dict[str, object]) -> tuple[str, str]:
    """The model and the newest message's text; ``BadInput`` says what a request lacks."""
    model = text_field(fields, "model", 100)
    if model not in BEHAVIOURS:
        raise BadInput(f'"model" must be one of {", ".join(BEHAVIOURS)}: this is a stand-in.')
    if fields.get("stream") is not True:
        raise BadInput('"stream" must be true: the stand-in only streams.')
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        raise BadInput('"messages" must be a list of {"role", "content"} objects.')
    return model, text_field(messages[-1], "content", MAX_PROMPT)


def failure(message: str, kind: str, status: int) -> HttpResponse:
    """An error in OpenAI's form."""
    return JsonResponse({"error": openai_error(message, kind)}, status=status)


def openai_error(message: str, kind: str) -> dict[str, str]:
    return {"message": message, "type": kind}


async def body(model: str, prompt: str) -> AsyncIterator[bytes]:
    """The bytes of the answer, or of what ``model`` does instead."""
    pieces = tokens(compose(prompt))
    frames = list(cut(completion(model, pieces)))
    if model == "garbage":
        frames = [*frames[:20], b"\n\ndata: \xff\xfe <html>not a chunk</html>\n\n", *frames[20:]]
    elif model == "hang-up":
        frames = frames[: len(frames) // 2]
    elif model == "error":
        broken = [*completion(model, pieces[: len(pieces) // 2])][:-2]
        frames = list(
            cut([*broken, Event({"error": openai_error("Out of paper.", "server_error")})])
        )
    elif model == "endless-line":
        frames = [*frames[:20], b"\n\ndata: ", *[b"and on " * 2048] * 64]
    for frame in frames:
        yield frame
        await asyncio.sleep(paced(SECONDS_A_CUT))
