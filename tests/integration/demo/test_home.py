"""The front page: every demo, with the code that runs."""

from __future__ import annotations

import html
import inspect
import re
from pathlib import Path

import pytest
from django.test import Client

from demo_project.home.catalogue import DEMOS, Demo, source_of
from demo_project.home.highlight import highlighted

TITLES = [demo.title for demo in DEMOS]


def test_lists_every_demo_with_a_link_that_works(client: Client, db: None) -> None:
    page = client.get("/").content.decode()
    for demo in DEMOS:
        assert f'href="{demo.url}"' in page
        assert client.get(demo.url).status_code == 200


@pytest.mark.parametrize("entry", DEMOS, ids=TITLES)
def test_shows_the_code_of_the_files_that_run(client: Client, entry: Demo) -> None:
    page = html.unescape(re.sub(r"</?span[^>]*>", "", client.get("/").content.decode()))
    for view in entry.views:
        source = source_of(view).rstrip("\n")
        assert source in Path(inspect.unwrap(view).__code__.co_filename).read_text()
        assert source in page


@pytest.mark.parametrize("entry", DEMOS, ids=TITLES)
def test_the_code_fits_on_a_card(entry: Demo) -> None:
    code = "".join(token.text for token in entry.code)
    lines = [line for line in code.splitlines() if line]
    assert 5 <= len(lines) <= 14
    assert max(map(len, lines)) <= 90
    assert any(line.startswith("@event_stream") for line in lines)


def test_the_source_is_that_of_the_undecorated_view_with_its_decorators() -> None:
    chat = DEMOS[0]
    assert source_of(chat.views[0]).startswith("@event_stream\ndef events(")


@pytest.mark.parametrize("entry", DEMOS, ids=TITLES)
def test_highlighting_keeps_every_character(entry: Demo) -> None:
    source = "\n".join(source_of(view) for view in entry.views)
    assert "".join(token.text for token in highlighted(source)) == source.strip("\n")


def test_highlighting_tells_what_is_what() -> None:
    tokens = highlighted('@stop\nasync def go(n):\n    return "a", 12, n  # why\n')
    assert {(token.text, token.kind) for token in tokens if token.kind} == {
        ("@", "decorator"),
        ("stop", "decorator"),
        ("async", "keyword"),
        ("def", "keyword"),
        ("go", "function"),
        ("return", "keyword"),
        ('"a"', "string"),
        ("12", "number"),
        ("# why", "comment"),
    }


def test_the_front_page_answers_no_post(client: Client) -> None:
    assert client.post("/").status_code == 405
