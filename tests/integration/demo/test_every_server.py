"""The demo under every server: styled, with nothing in front, and able to find its own stand-in."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from demo_project.upstream.composer import compose
from django_sse.wire import Decoder
from tests.servers import ASGI_KINDS, DEMO_SITE, WSGI_KINDS, Server


@pytest.mark.parametrize("kind", [*ASGI_KINDS, *WSGI_KINDS, "runserver-daphne"])
def test_pages_have_their_style_and_the_assistant_reaches_the_stand_in(
    serve: Callable[..., Server], kind: str
) -> None:
    args = ["--noasgi"] if kind == "runserver-wsgi" else []
    environment = {"DEMO_PACE": "0.1", "OPENAI_BASE_URL": ""}
    server = serve(kind, site=DEMO_SITE, env=environment, args=args)
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        client.get("/assistant/").raise_for_status()
        style = client.get("/static/demo/css/base.css")
        assert style.headers["content-type"].startswith("text/css")
        answer = client.post(
            "/assistant/answers/",
            json={"prompt": "Which characters does Unicode have?"},
            headers={"X-CSRFToken": client.cookies["csrftoken"]},
        )
    events = Decoder().feed(answer.content)
    assert [event.type for event in events if event.type != "message"] == ["stream-open", "close"]
    said = "".join(event.data for event in events if event.type == "message")
    assert said == compose("Which characters does Unicode have?")
