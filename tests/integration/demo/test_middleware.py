"""The policy on every response, and errors in the words of the exception."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient, Client

from demo_project.middleware import POLICY

TEMPLATES = sorted(Path("demo_project/templates").rglob("*.html"))


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/chat/lobby/", "/chat/nowhere/", "/nothing", "/clock/"])
def test_every_response_carries_the_policy(client: Client, path: str) -> None:
    assert client.get(path)["Content-Security-Policy"] == POLICY


async def test_a_stream_carries_the_policy(async_client: AsyncClient) -> None:
    response = await async_client.get("/interval/events/", headers={"last-event-id": "5"})
    assert response["Content-Security-Policy"] == POLICY


async def test_pages_and_streams_name_the_process_that_answers(async_client: AsyncClient) -> None:
    for path, position in (("/clock/", ""), ("/interval/events/", "5")):
        response = await async_client.get(path, headers={"last-event-id": position})
        assert response["X-Process"] == str(os.getpid())


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "script-src 'self';" in POLICY
    assert "style-src 'self';" in POLICY


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_inline_script_style_or_handler(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [False, True])
def test_a_missing_room_is_a_page_for_a_person(client: Client, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    response = client.get("/chat/nowhere/", headers={"accept": "text/html,*/*"})
    assert response.status_code == 404
    page = response.content.decode()
    assert "There is no room called" in page
    assert "nowhere" in page
    assert "Traceback" not in page


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [False, True])
def test_a_missing_room_is_json_for_a_script(client: Client, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    response = client.get("/chat/nowhere/events/", headers={"accept": "text/event-stream"})
    assert response.status_code == 404
    assert response.json() == {
        "error": "There is no room called 'nowhere'. The rooms are: lobby, general, random."
    }


def test_cross_origin_reading_is_for_the_origins_that_are_named(
    client: Client, settings: Any
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["http://friend.example"]

    def allowed(origin: str, path: str) -> str | None:
        headers = {"origin": origin, "last-event-id": "5"}
        return client.get(path, headers=headers).headers.get("Access-Control-Allow-Origin")

    assert allowed("http://friend.example", "/interval/events/") == "http://friend.example"
    assert allowed("http://stranger.example", "/interval/events/") is None
    assert allowed("http://friend.example", "/interval/") is None


def test_a_preflight_may_ask_for_last_event_id(client: Client, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["http://friend.example"]
    response = client.options(
        "/interval/events/",
        headers={
            "origin": "http://friend.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "last-event-id",
        },
    )
    assert "last-event-id" in response["Access-Control-Allow-Headers"]
    assert response["Access-Control-Allow-Credentials"] == "true"
