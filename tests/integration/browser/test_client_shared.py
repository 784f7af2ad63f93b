"""One connection for all tabs of an origin, over HTTP/1.1: who leads, who takes over, who joins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.browser.client import (
    CLOSED,
    NETWORK,
    Opener,
    asked,
    open_client,
    publish,
    seen,
    wait,
)
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.every_engine]

TABS = 8


def connections(notes: Path) -> int:
    lines = notes.read_text().splitlines() if notes.exists() else []
    return lines.count("opened") - lines.count("closed")


def tab(open_page: Opener, server: Server, beside: Page | None = None) -> Page:
    return open_client(open_page, server.url, beside=beside, expected=NETWORK)


def share(page: Page, url: str, options: str = "{}") -> None:
    """Opens the stream, for the account "ann" if the options name no other."""
    page.evaluate(
        f"""() => void follow(
            new django_sse.SharedEventStream("{url}", {{ share: "ann", ...{options} }}))"""
    )


def settled(page: Page) -> None:
    """It leads, or follows the leader."""
    wait(page, "seen.stream.readyState === 1 && seen.stream.lastEventId !== ''")


def tabs(open_page: Opener, server: Server, url: str, count: int) -> list[Page]:
    """That many tabs of one window, the leader first."""
    first = tab(open_page, server)
    share(first, url)
    wait(first, "seen.stream.leading && seen.stream.lastEventId !== ''")
    opened = [first]
    for _ in range(count - 1):
        opened.append(tab(open_page, server, first))
        share(opened[-1], url)
    for page in opened:
        settled(page)
    return opened


def expect_data(pages: list[Page], *expected: str) -> None:
    """In each exactly these, in this order."""
    for page in pages:
        wait(page, f"seen.data.length >= {len(expected)}")
        assert seen(page, "data") == list(expected)


def leaders(pages: list[Page]) -> list[Page]:
    return [page for page in pages if seen(page, "stream.leading")]


def one_connection(pages: list[Page], notes: Path) -> None:
    """Wait until the server has one subscription for them all."""
    for _ in range(600):
        if connections(notes) == 1:
            return
        pages[0].wait_for_timeout(50)
    raise AssertionError(f"{connections(notes)} connections")


@pytest.mark.promise("all tabs share one connection")
def test_eight_tabs_are_all_live_on_one_connection(
    open_page: Opener, server: Server, notes: Path
) -> None:
    pages = tabs(open_page, server, "/channels_noting/eight/", TABS)
    publish(server, "eight", "one", "two")
    expect_data(pages, "one", "two")
    assert leaders(pages) == pages[:1]
    one_connection(pages, notes)
    # The host has connections left for all else.
    assert pages[-1].evaluate("fetch('/ok/').then((response) => response.status)") == 200
    publish(server, "eight", "three")
    expect_data(pages, "one", "two", "three")
    assert [seen(page, "ids") for page in pages] == [seen(pages[0], "ids")] * TABS
    assert [seen(page, "errors") for page in pages] == [[]] * TABS


def patient(page: Page) -> None:
    """Its leader may take long to answer on a busy machine: no timer of a second fires."""
    page.evaluate(
        """() => {
            const later = window.setTimeout;
            window.setTimeout = (callback, ms) => (ms === 1000 ? 0 : later(callback, ms));
        }"""
    )


def crash(page: Page) -> None:
    from playwright.sync_api import Error

    with page.expect_event("crash"), pytest.raises(Error):
        page.goto("chrome://crash")


@pytest.mark.parametrize("way", ["close", "reload"])
@pytest.mark.promise("another tab takes over when the leader closes, reloads or freezes")
def test_another_tab_takes_over_and_nothing_is_lost_or_comes_twice(
    open_page: Opener, server: Server, way: str
) -> None:
    takes_over(open_page, server, way)


@pytest.mark.promise("another tab takes over when the leader's tab crashes")
@pytest.mark.not_in(firefox="no page crashes its tab", webkit="no page crashes its tab")
def test_another_tab_takes_over_when_the_leader_crashes(open_page: Opener, server: Server) -> None:
    takes_over(open_page, server, "crash")


def takes_over(open_page: Opener, server: Server, way: str) -> None:
    leader, *pages = tabs(open_page, server, f"/channels/{way}/", 4)
    publish(server, way, "one", "two")
    expect_data(pages, "one", "two")
    if way == "crash":
        crash(leader)
    elif way == "reload":
        leader.reload()
    else:
        leader.close()
    publish(server, way, *(f"between {number}" for number in range(20)))
    expected = ["one", "two", *(f"between {number}" for number in range(20))]
    expect_data(pages, *expected)
    assert len(leaders(pages)) == 1
    publish(server, way, "after")
    expect_data(pages, *expected, "after")
    assert [seen(page, "errors") for page in pages] == [[]] * len(pages)


@pytest.mark.promise("another tab takes over when the leader closes, reloads or freezes")
def test_leaders_that_close_one_after_the_other_while_events_rain(
    open_page: Opener, server: Server
) -> None:
    pages = tabs(open_page, server, "/channels/rain/", 5)
    said = []
    while len(pages) > 1:
        burst = [f"{len(pages)} {number}" for number in range(10)]
        publish(server, "rain", *burst[:5])
        leaders(pages)[0].close()
        publish(server, "rain", *burst[5:])
        said += burst
        pages = [page for page in pages if not page.is_closed()]
        expect_data(pages, *said)


def test_a_tab_that_comes_late_gets_the_whole_run(open_page: Opener, server: Server) -> None:
    first = tab(open_page, server)
    url = first.evaluate(
        """async () => {
            const url = "/answer/?count=150&pause=0.05";
            const stream = new django_sse.EventStream(url, { method: "POST" });
            await new Promise((resolve) => (stream.onopen = resolve));
            stream.close();
            return stream.runURL;
        }"""
    )
    share(first, url)
    wait(first, "seen.data.length > 10")
    second = tab(open_page, server, first)
    share(second, url)
    wait(second, "seen.data.length > 10")
    assert (seen(first, "stream.leading"), seen(second, "stream.leading")) == (True, False)
    for page in (first, second):
        wait(page, CLOSED)
        assert seen(page, "data") == [f"token {number}" for number in range(150)]
        assert (seen(page, "types")[-1], seen(page, "errors")) == ("close", [])


def test_a_tab_that_stands_elsewhere_catches_up_by_itself(
    open_page: Opener, server: Server
) -> None:
    (leader,) = tabs(open_page, server, "/channels/late/", 1)
    publish(server, "late", *"abcdef")
    expect_data([leader], *"abcdef")
    late = tab(open_page, server, leader)
    share(late, "/channels/late/", f"{{ lastEventId: {seen(leader, 'ids')[1]!r} }}")
    expect_data([late], *"cdef")
    publish(server, "late", "g")
    expect_data([late], *"cdefg")


def test_a_tab_at_the_leaders_position_makes_one_request_and_ends_it(
    open_page: Opener, server: Server, notes: Path
) -> None:
    (leader,) = tabs(open_page, server, "/channels_noting/same/", 1)
    publish(server, "same", "a")
    expect_data([leader], "a")
    other = tab(open_page, server, leader)
    patient(other)
    position = seen(leader, "stream.lastEventId")
    share(other, "/channels_noting/same/", f"{{ lastEventId: {position!r} }}")
    wait(other, "seen.stream.readyState === 1")
    one_connection([leader, other], notes)
    publish(server, "same", "b")
    expect_data([other], "b")
    assert len(asked(other, "channels")) == 1


@pytest.mark.promise("no account gets events of another one, nor a tab that the server refuses")
def test_the_next_account_in_the_browser_gets_nothing_of_the_one_before(
    open_page: Opener, server: Server
) -> None:
    first = tab(open_page, server)
    first.context.add_cookies([{"name": "guest", "value": "ann", "url": server.url}])
    share(first, "/client/letters/")
    settled(first)
    # Ann's tab stays open while Bob logs in. The position of an empty channel names no channel, so
    # Bob's page may stand where Ann's does.
    first.context.add_cookies([{"name": "guest", "value": "bob", "url": server.url}])
    second = tab(open_page, server, first)
    position = seen(first, "stream.lastEventId")
    share(second, "/client/letters/", f"{{ share: 'bob', lastEventId: {position!r} }}")
    settled(second)
    publish(server, "letters-ann", "for Ann")
    expect_data([first], "for Ann")
    publish(server, "letters-bob", "for Bob")
    expect_data([second], "for Bob")
    assert seen(first, "data") == ["for Ann"]


@pytest.mark.promise("no account gets events of another one, nor a tab that the server refuses")
def test_a_tab_that_the_server_refuses_gets_nothing_from_the_others(
    open_page: Opener, server: Server
) -> None:
    leader = tab(open_page, server)
    leader.context.add_cookies([{"name": "guest", "value": "yes", "url": server.url}])
    share(leader, "/client/guests/")
    settled(leader)
    leader.context.clear_cookies()
    refused = tab(open_page, server, leader)
    share(refused, "/client/guests/")
    wait(refused, CLOSED)
    publish(server, "guests", "secret")
    expect_data([leader], "secret")
    assert refused.evaluate("seen.stream.error.status") == 403
    assert seen(refused, "data") == []


def test_a_stream_without_ids_is_not_shared(open_page: Opener, server: Server) -> None:
    first = tab(open_page, server)
    second = tab(open_page, server, first)
    for page in (first, second):
        share(page, "/ticks_sync/")
        wait(page, "seen.data.length > 3")
    assert len(asked(second, "ticks")) == 1
    first.close()
    wait(second, f"seen.data.length > {len(seen(second, 'data')) + 3}")
    assert seen(second, "errors") == []


def test_a_server_that_is_killed_and_comes_back_loses_nothing_in_any_tab(
    open_page: Opener, server: Server
) -> None:
    first = tab(open_page, server)
    pages = [first, tab(open_page, server, first), tab(open_page, server, first)]
    for page in pages[1:]:
        patient(page)
    for page in pages:
        share(page, "/channels/restart/", "{ maxDelay: 500 }")
        settled(page)
    publish(server, "restart", "one")
    expect_data(pages, "one")
    followers = [page for page in pages if page not in leaders(pages)]
    before = [len(asked(page, "channels")) for page in followers]
    server.kill()
    for page in pages:
        wait(page, "seen.stream.readyState === 0")
    assert [len(asked(page, "channels")) for page in followers] == before
    server.start()
    publish(server, "restart", "two")
    expect_data(pages, "one", "two")
    publish(server, "restart", "three")
    expect_data(pages, "one", "two", "three")
    assert len(leaders(pages)) == 1


def test_a_tab_that_closes_its_stream_leaves_the_others_theirs(
    open_page: Opener, server: Server
) -> None:
    pages = tabs(open_page, server, "/channels/leave/", 3)
    pages[1].evaluate("seen.stream.close()")
    publish(server, "leave", "one")
    expect_data([pages[0], pages[2]], "one")
    pages[0].evaluate("seen.stream.close()")
    publish(server, "leave", "two")
    expect_data(pages[2:], "one", "two")
    assert seen(pages[2], "errors") == []
    assert (seen(pages[0], "data"), seen(pages[1], "data")) == (["one"], [])


def test_the_end_of_the_stream_is_the_end_in_every_tab(open_page: Opener, server: Server) -> None:
    pages = tabs(open_page, server, "/channels/end/", 3)
    publish(server, "end", "x")
    pages[0].evaluate(
        """() => fetch("/streams/finish/end/", { method: "POST" })
            .then((response) => response.text())"""
    )
    for page in pages:
        wait(page, CLOSED)
        assert seen(page, "data") == ["x"]
        assert (seen(page, "types")[-1], seen(page, "errors")) == ("close", [])


@pytest.mark.parametrize(
    ("asleep", "awake"),
    [
        (
            "document.dispatchEvent(new Event('freeze'))",
            "document.dispatchEvent(new Event('resume'))",
        ),
        (
            "dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))",
            "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))",
        ),
    ],
    ids=["frozen", "cached"],
)
@pytest.mark.promise("another tab takes over when the leader closes, reloads or freezes")
def test_a_leader_that_sleeps_hands_over_and_comes_back_as_one_of_the_others(
    open_page: Opener, server: Server, asleep: str, awake: str
) -> None:
    channel = "freeze" if "freeze" in asleep else "cache"
    pages = tabs(open_page, server, f"/channels/{channel}/", 3)
    pages[0].evaluate(f"void {asleep}")
    publish(server, channel, "one")
    expect_data(pages[1:], "one")
    assert len(leaders(pages[1:])) == 1
    assert [seen(page, "errors") for page in pages[1:]] == [[], []]
    assert seen(pages[0], "data") == []
    pages[0].evaluate(f"void {awake}")
    expect_data(pages, "one")
    assert not seen(pages[0], "stream.leading")


def test_an_answer_that_ends_without_a_terminal_event_is_truncated(
    open_page: Opener, server: Server
) -> None:
    page = tab(open_page, server)
    share(page, "/no_terminal/", "{ reconnect: false }")
    wait(page, CLOSED)
    assert seen(page, "errors") == [["truncated", None]]


def test_neither_a_post_nor_a_page_of_no_account_shares(open_page: Opener, server: Server) -> None:
    page = tab(open_page, server)
    for options in ("{ share: '', method: 'POST' }", "{ share: '', body: {} }", "{}"):
        thrown = page.evaluate(
            f"""() => {{
                try {{
                    new django_sse.SharedEventStream("/x/", {options});
                }} catch (error) {{ return error.name; }}
            }}"""
        )
        assert thrown == "TypeError"
