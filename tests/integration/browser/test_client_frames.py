"""Events that are delivered once an animation frame, and where there are no frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.browser.client import CLOSED, Opener, open_client, publish, seen, wait
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]

# The page gets its frames from the test: `paint()`.
FRAMES = """() => {
    const asked = [];
    window.requestAnimationFrame = (callback) => asked.push(callback);
    window.cancelAnimationFrame = (id) => { asked[id - 1] = null; };
    window.paint = () => { for (const callback of asked.splice(0)) callback?.(); };
    const later = window.setTimeout;
    // Timers of a tenth of a second and more do not fire, as in a tab that is throttled.
    window.setTimeout = (callback, ms) => (ms >= 100 && ms <= 1000 ? 0 : later(callback, ms));
}"""
HIDE = """() => {
    Object.defineProperty(document, "hidden", { value: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def listen(page: Page, channel: str) -> None:
    """Follows the channel in batches; the frames are the test's."""
    page.evaluate(FRAMES)
    page.evaluate(
        f"""() => void follow(new django_sse.EventStream("/channels/{channel}/",
            {{ batch: "frame" }}))"""
    )
    wait(page, "(paint(), seen.types.includes('stream-open'))")


def arrived(page: Page, server: Server, channel: str, *texts: str) -> None:
    """Published, and read by the page, which was not painted meanwhile."""
    publish(server, channel, *texts)
    wait(page, f"seen.stream.readPosition.includes('-{len(texts)}-')")


@pytest.mark.promise('`batch: "frame"` delivers once a frame, and at once in a hidden tab')
def test_what_came_since_the_last_frame_is_delivered_at_once_in_order(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    listen(page, "batch")
    arrived(page, server, "batch", "one", "two", "three")
    assert seen(page, "data") == []
    page.evaluate("paint()")
    wait(page, "seen.data.length === 3")
    assert (seen(page, "data"), seen(page, "turns")) == (["one", "two", "three"], 1)


def test_a_loop_gets_what_came_since_the_last_frame(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    listen(page, "loop")
    page.evaluate(
        """() => {
            window.got = [];
            (async () => { for await (const { data } of seen.stream) got.push(data); })();
        }"""
    )
    arrived(page, server, "loop", "one", "two")
    assert page.evaluate("got") == []
    page.evaluate("paint()")
    wait(page, "got.length === 2")


@pytest.mark.promise('`batch: "frame"` delivers once a frame, and at once in a hidden tab')
def test_a_tab_that_is_hidden_gets_its_events_without_a_frame(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    listen(page, "hidden")
    arrived(page, server, "hidden", "one", "two")
    assert seen(page, "data") == []
    page.evaluate(HIDE)
    wait(page, "seen.data.length === 2")
    publish(server, "hidden", "three")
    wait(page, "seen.data.length === 3")
    assert seen(page, "data") == ["one", "two", "three"]


def test_a_window_that_is_covered_gets_its_events_without_a_frame(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    page.evaluate("window.requestAnimationFrame = () => 0")
    page.evaluate(
        """() => void follow(new django_sse.EventStream("/channels/covered/",
            { batch: "frame" }))"""
    )
    wait(page, "seen.types.includes('stream-open')")
    publish(server, "covered", "one")
    wait(page, "seen.data.length === 1")


@pytest.mark.promise('`batch: "frame"` delivers once a frame, and at once in a hidden tab')
def test_the_terminal_event_comes_after_all_deltas(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    page.evaluate(FRAMES)
    page.evaluate(
        """() => void follow(new django_sse.EventStream("/answer/?count=20",
            { method: "POST", batch: "frame" }))"""
    )
    wait(page, CLOSED)
    assert seen(page, "data") == [f"token {number}" for number in range(20)]
    assert seen(page, "types") == ["open", "stream-open", *["message"] * 20, "close"]
    assert seen(page, "turns") == 1


def test_a_cut_is_reported_after_all_that_came_before_it(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    page.evaluate(FRAMES)
    page.evaluate(
        """() => void follow(new django_sse.EventStream("/no_terminal/",
            { reconnect: false, batch: "frame" }))"""
    )
    wait(page, CLOSED)
    assert seen(page, "types") == ["open", "message", "error"]
    assert seen(page, "errors") == [["truncated", None]]


def test_close_takes_back_what_was_not_yet_delivered(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    listen(page, "taken")
    arrived(page, server, "taken", "one")
    page.evaluate("seen.stream.close(), paint()")
    assert (seen(page, "data"), seen(page, "types")[-1]) == ([], "stream-open")


def test_who_closes_and_begins_anew_at_its_position_misses_nothing(
    open_page: Opener, server: Server
) -> None:
    page = open_client(open_page, server.url)
    listen(page, "anew")
    arrived(page, server, "anew", "one")
    page.evaluate("paint()")
    wait(page, "seen.data.length === 1")
    publish(server, "anew", "two", "three")
    wait(page, "seen.stream.readPosition.includes('-3-')")
    page.evaluate(
        """() => {
            const { stream } = seen;
            stream.close();
            const { lastEventId } = stream;
            follow(new django_sse.EventStream(stream.url, { lastEventId }));
        }"""
    )
    wait(page, "seen.data.length === 2")
    assert seen(page, "data") == ["two", "three"]


def test_without_the_option_events_wait_for_no_frame(open_page: Opener, server: Server) -> None:
    page = open_client(open_page, server.url)
    page.evaluate(FRAMES)
    page.evaluate("() => void follow(new django_sse.EventStream('/channels/plain/'))")
    wait(page, "seen.types.includes('stream-open')")
    publish(server, "plain", "one")
    wait(page, "seen.data.length === 1")
