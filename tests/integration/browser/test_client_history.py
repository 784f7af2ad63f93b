"""A page that lies in the back/forward cache, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.browser import engines
from tests.integration.browser.client import Opener, open_client, publish, seen, wait
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

pytestmark = [
    pytest.mark.needs("uvicorn"),
    pytest.mark.every_engine,
    pytest.mark.not_in(firefox="keeps no page with an open stream in its cache"),
]


@pytest.fixture(scope="module")
def browser(playwright: Playwright, engine: str) -> Iterator[Browser]:
    """One with the cache, which Playwright turns off."""
    off = ["--disable-back-forward-cache"]
    options = {"ignore_default_args": off} if engine == "chromium" else {}
    with engines.launched(playwright, engine, **options) as running:
        yield running


@pytest.mark.parametrize("kind", ["EventStream", "SharedEventStream"])
@pytest.mark.promise("a page out of the back/forward cache gets what it missed")
def test_a_page_that_is_gone_back_to_gets_what_it_missed(
    open_page: Opener, server: Server, kind: str
) -> None:
    page = open_client(open_page, server.url)
    page.evaluate(f"() => void follow(new django_sse.{kind}('/channels/{kind}/', {{ share: '' }}))")
    wait(page, "seen.types.includes('stream-open')")
    publish(server, kind, "before")
    wait(page, "seen.data.length === 1")
    page.goto(f"{server.url}/client/?elsewhere")
    publish(server, kind, "meanwhile")
    # A page out of the cache fires no load event to wait for.
    page.go_back(wait_until="commit")
    wait(page, "window.seen?.data.length === 2")
    assert seen(page, "data") == ["before", "meanwhile"]
    assert seen(page, "types").count("open") == 2
    publish(server, kind, "after")
    wait(page, "seen.data.length === 3")
