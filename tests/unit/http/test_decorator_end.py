"""How the stream of a decorated view says that it is complete, and who hears it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from django_sse import Event, event_stream
from django_sse.exceptions import InvalidEvent
from tests.unit.http.forms import (
    FORMS,
    async_generator,
    call,
    every_form,
)
from tests.unit.http.support import asgi_request, body, events


async def ended(**options: Any) -> bytes:
    @event_stream(**options)
    async def view(request: Any) -> AsyncIterator[str]:
        yield "only"

    return await body(await view(asgi_request()))


async def test_the_end_is_said_and_has_the_reserved_id() -> None:
    assert await ended() == b"data: only\n\nid: !end\nevent: close\ndata: [DONE]\n\n"


async def test_the_end_can_be_another_event() -> None:
    end = await ended(terminal=Event({"ok": True}, event="finished"))
    assert end == b'data: only\n\nid: !end\nevent: finished\ndata: {"ok":true}\n\n'


async def test_the_end_can_be_bare() -> None:
    assert await ended(terminal=Event("[DONE]")) == b"data: only\n\nid: !end\ndata: [DONE]\n\n"


async def test_the_end_cannot_have_an_id_that_would_be_taken_for_a_position() -> None:
    with pytest.raises(InvalidEvent, match="must not have an id"):
        await ended(terminal=Event("bye", id="9"))


@pytest.mark.parametrize("terminal", ["[DONE]", False, {"ok": True}])
async def test_the_end_is_an_event(terminal: Any) -> None:
    with pytest.raises(TypeError, match=rf"terminal .*Event.* None, not {type(terminal).__name__}"):
        await ended(terminal=terminal)


async def test_the_end_can_go_unsaid() -> None:
    assert await ended(terminal=None) == b"data: only\n\n"


@every_form
async def test_whoever_brings_the_end_back_gets_204(form: str) -> None:
    response = await call(FORMS[form], asgi_request(Last_Event_ID="!end"))
    assert response.status_code == 204
    assert response["Cache-Control"] == "no-store"


async def test_whoever_posts_the_end_gets_204() -> None:
    assert (await async_generator(asgi_request("POST", Last_Event_ID="!end"))).status_code == 204


async def test_a_generator_that_was_paid_for_runs_once() -> None:
    runs = []

    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        runs.append(request)
        yield "answer"

    (_, end) = await events(await view(asgi_request()))
    response = await view(asgi_request(Last_Event_ID=end.last_event_id))
    assert response.status_code == 204
    assert len(runs) == 1


@every_form
async def test_an_over_long_position_is_a_bad_request(form: str) -> None:
    response = await call(FORMS[form], asgi_request(Last_Event_ID="x" * 1281))
    assert response.status_code == 400
