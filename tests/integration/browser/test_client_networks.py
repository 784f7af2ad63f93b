"""A page that loses its network or sleeps, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.integration.browser.client import (
    NETWORK,
    Opener,
    asked,
    open_client,
    publish,
    seen,
    wait,
)
from tests.proxy import Proxy
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]

# As if the computer had slept: its clock went on, its timers did not.
# (Scripts of Firefox's WebDriver have a Date of their own beside the page's.)
SLEEP = "{ const { Date } = window, now = Date.now; Date.now = () => now() + 3_600_000; }"


def listen(page: Page, channel: str, options: str = "{}") -> None:
    """Follows the channel, and waits until it is open."""
    page.evaluate(
        f"""() => void follow(new django_sse.EventStream("/channels/{channel}/", {options}))"""
    )
    wait(page, "seen.types.includes('stream-open')")


def attempts(page: Page) -> int:
    """The number of requests for channels."""
    return len(asked(page, "channels"))


def set_offline(page: Page, engine: str, offline: bool) -> None:
    """The browser says so. Only Chromium's can be told to; it cuts no stream."""
    if engine == "chromium":
        page.context.set_offline(offline)
    else:
        page.evaluate(
            """(offline) => {
                Object.defineProperty(navigator, "onLine", { value: !offline, configurable: true });
                dispatchEvent(new Event(offline ? "offline" : "online"));
            }""",
            offline,
        )


@pytest.mark.promise("offline it waits, and online it connects at once")
def test_five_seconds_offline_lose_nothing_and_cost_no_attempt(
    open_page: Opener, server: Server, proxied: Callable[[int], Proxy], engine: str
) -> None:
    proxy = proxied(server.port)
    page = open_client(open_page, proxy.url, expected=NETWORK)
    # The back-off alone would take ten minutes.
    listen(page, "offline", "{ maxDelay: 600_000 }")
    publish(server, "offline", "before")
    wait(page, "seen.data.length === 1")
    set_offline(page, engine, True)
    proxy.cut()
    wait(page, "seen.errors.length === 1")
    publish(server, "offline", "one", "two")
    page.wait_for_timeout(5000)
    assert (attempts(page), seen(page, "stream.readyState")) == (1, 0)
    set_offline(page, engine, False)
    wait(page, "seen.data.length === 3")
    assert seen(page, "data") == ["before", "one", "two"]
    assert attempts(page) == 2


@pytest.mark.promise("offline it waits, and online it connects at once")
def test_an_open_connection_is_made_anew_when_the_page_is_online_again(
    open_page: Opener, server: Server, engine: str
) -> None:
    page = open_client(open_page, server.url)
    listen(page, "online")
    set_offline(page, engine, True)
    assert seen(page, "stream.readyState") == 1
    set_offline(page, engine, False)
    wait(page, "seen.errors.length === 1 && seen.stream.readyState === 1")
    assert seen(page, "errors") == [["given-up", 0]]
    publish(server, "online", "after")
    wait(page, "seen.data.length === 1")


def test_a_browser_that_wrongly_says_offline_costs_no_first_attempt(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    page.evaluate("void Object.defineProperty(navigator, 'onLine', { value: false })")
    # Ten minutes, if it waited.
    listen(page, "first", "{ maxDelay: 600_000 }")


def test_a_browser_that_wrongly_says_offline_costs_later_attempts_the_longest_delay(
    open_page: Opener, server: Server, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(server.port)
    page = open_client(open_page, proxy.url, expected=NETWORK)
    page.evaluate("void Object.defineProperty(navigator, 'onLine', { value: false })")
    listen(page, "wrongly", "{ maxDelay: 300 }")
    publish(server, "wrongly", "one")
    wait(page, "seen.data.length === 1")
    proxy.cut()
    wait(page, "seen.errors.length === 1")
    publish(server, "wrongly", "two")
    wait(page, "seen.data.length === 2")


@pytest.mark.promise("the watchdog notices a silent connection, also after sleep")
def test_a_network_that_falls_silent_is_noticed_and_nothing_is_lost(
    open_page: Opener, server: Server, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(server.port)
    page = open_client(open_page, proxy.url, expected=NETWORK)
    listen(page, "silent", "{ watchdog: 3000 }")
    publish(server, "silent", "one")
    wait(page, "seen.data.length === 1")
    proxy.stall()
    publish(server, "silent", "two")
    # The second attempt hangs before its headers.
    wait(page, "seen.errors.length === 2")
    assert [code for code, _ in seen(page, "errors")] == ["timeout", "timeout"]
    proxy.restore()
    wait(page, "seen.data.length === 2")
    assert seen(page, "data") == ["one", "two"]


@pytest.mark.parametrize("moment", ["visibilitychange", "resume"])
@pytest.mark.promise("the watchdog notices a silent connection, also after sleep")
def test_a_connection_that_died_while_the_computer_slept_is_noticed_at_once(
    open_page: Opener, server: Server, proxied: Callable[[int], Proxy], moment: str
) -> None:
    proxy = proxied(server.port)
    page = open_client(open_page, proxy.url, expected=NETWORK)
    # So long that its own timer does not look within the test.
    listen(page, f"asleep-{moment}", "{ watchdog: 1_000_000 }")
    proxy.stall()
    page.evaluate(
        f"""async () => {{
            {SLEEP}
            document.dispatchEvent(new Event("{moment}"));
        }}"""
    )
    wait(page, "seen.errors.length === 1")
    assert seen(page, "errors") == [["timeout", 0]]
    publish(server, f"asleep-{moment}", "one")
    proxy.cut()
    proxy.restore()
    wait(page, "seen.data.length === 1")


def test_a_connection_that_lives_is_kept_when_the_tab_becomes_visible(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    listen(page, "visible")
    page.evaluate("void document.dispatchEvent(new Event('visibilitychange'))")
    publish(server, "visible", "one")
    wait(page, "seen.data.length === 1")
    assert seen(page, "errors") == []


@pytest.mark.parametrize(
    ("asleep", "awake"),
    [
        # What Chromium dispatches when it freezes a tab; headless it freezes none.
        (
            "document.dispatchEvent(new Event('freeze'))",
            "document.dispatchEvent(new Event('resume'))",
        ),
        # Browsers without these have only what tells of the back/forward cache.
        (
            "dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))",
            "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))",
        ),
    ],
    ids=["frozen", "cached"],
)
@pytest.mark.promise("a page that is frozen leaves its connection and resumes after its position")
def test_a_page_that_sleeps_leaves_its_connection_and_resumes_after_its_position(
    open_page: Opener, server: Server, asleep: str, awake: str
) -> None:
    page = open_client(open_page, server.url)
    listen(page, "frozen")
    publish(server, "frozen", "before")
    wait(page, "seen.data.length === 1")
    page.evaluate(f"void {asleep}")
    wait(page, "seen.stream.readyState === 0")
    publish(server, "frozen", "meanwhile")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 300))")
    assert (attempts(page), seen(page, "errors")) == (1, [["given-up", 0]])
    page.evaluate(f"void {awake}")
    wait(page, "seen.data.length === 2")
    assert seen(page, "data") == ["before", "meanwhile"]
