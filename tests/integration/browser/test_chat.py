"""Two windows, one room: cut, come back, and nothing is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.integration.demo.shell import manage
from tests.proxy import Proxy
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.needs("browser", "daphne")

# What Chromium logs when the network goes: that is the test's own doing.
NETWORK = r"Failed to load resource: net::ERR_|net::ERR_INCOMPLETE_CHUNKED_ENCODING"

Opener = Callable[..., "Page"]


def enter(open_page: Opener, base: str, room: str, name: str, **options: object) -> Page:
    page = open_page(f"{base}/chat/{room}/", **options)
    state(page, "open")
    page.fill("#username", name)
    page.click("[data-rename-form] button")
    expect_here(page, name)
    state(page, "open")
    return page


def state(page: Page, name: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("[data-connection]")).to_have_attribute("data-connection", name)
    expect(page.locator("[data-connection-text]")).to_have_text(name)


def expect_here(page: Page, *names: str) -> None:
    from playwright.sync_api import expect

    for name in names:
        expect(page.locator(f"[data-people] [data-username='{name}']")).to_have_count(1)


def say(page: Page, *texts: str) -> None:
    for text in texts:
        page.fill("#text", text)
        with page.expect_response("**/messages/**") as posted:
            page.press("#text", "Enter")
        assert posted.value.status == 201


def expect_messages(page: Page, *texts: str, select: str = ".message") -> None:
    """Exactly these, in this order."""
    from playwright.sync_api import expect

    expect(page.locator(f"[data-log] {select} .text")).to_have_text(list(texts))


def test_two_windows_hear_each_other_and_see_who_is_here(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    ada = enter(open_page, demo.url, "general", "Ada")
    grace = enter(open_page, demo.url, "general", "Grace")
    say(ada, "Hello")
    say(grace, "<img src=x onerror=alert(1)>", "& good-bye")
    for page in (ada, grace):
        expect_messages(page, "Hello", "<img src=x onerror=alert(1)>", "& good-bye")
        expect_here(page, "Ada", "Grace")
    expect(ada.locator(".mine .text")).to_have_text(["Hello"])
    grace.close()
    expect(ada.locator("[data-people] [data-username='Grace']")).to_have_count(0)
    expect(ada.locator(".event").last).to_have_text("Grace left")


def test_a_cut_network_loses_nothing(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    with Proxy(demo.port) as proxy:
        away = enter(open_page, proxy.url, "lobby", "Away", expected=NETWORK)
        talker = enter(open_page, demo.url, "lobby", "Talker")
        say(talker, "before")
        expect_messages(away, "before")
        proxy.refuse()
        proxy.cut()
        state(away, "connecting")
        say(talker, "one", "two", "three")
        expect_messages(away, "before")
        proxy.restore()
        state(away, "open")
        expect_messages(away, "before", "one", "two", "three")
        expect_messages(away, "one", "two", "three", select=".replayed")
        expect(away.locator("[data-notice]")).to_contain_text("3 messages")
        say(talker, "after")
        expect_messages(away, "before", "one", "two", "three", "after")
        expect_messages(away, "one", "two", "three", select=".replayed")
        away.close()


def test_the_buttons_cut_and_restore_and_show_what_was_replayed(
    open_page: Opener, demo: Server
) -> None:
    from playwright.sync_api import expect

    ada = enter(open_page, demo.url, "random", "Ada")
    grace = enter(open_page, demo.url, "random", "Grace")
    ada.click("[data-cut]")
    state(ada, "closed")
    expect(grace.locator("[data-people] [data-username='Ada']")).to_have_count(0)
    say(grace, "un", "deux")
    say(ada, "can be sent all the same")
    expect(ada.locator("[data-notice]")).to_contain_text("Sent.")
    expect_messages(ada)
    ada.click("[data-restore]")
    state(ada, "open")
    said = ("un", "deux", "can be sent all the same")
    expect_messages(ada, *said, select=".replayed")
    expect_messages(grace, *said)
    expect(grace.locator(".replayed")).to_have_count(0)
    expect_here(grace, "Ada")


def test_a_reload_shows_the_history_and_no_message_twice(open_page: Opener, demo: Server) -> None:
    ada = enter(open_page, demo.url, "random", "Ada")
    say(ada, "to be kept")
    before = ada.locator(".message .text").all_text_contents()
    ada.reload()
    state(ada, "open")
    say(ada, "and one more")
    expect_messages(ada, *before, "and one more")


def lose_the_log(demo: Server, room: str) -> None:
    replace = (
        "from django_sse.models import Channel; from django_sse.wire import make_epoch;"
        f"assert Channel.objects.filter(name='chat-{room}').update(epoch=make_epoch())"
    )
    manage(demo, "shell", "-c", replace)


def test_a_position_the_log_no_longer_knows_loads_the_room_anew(
    open_page: Opener, demo: Server
) -> None:
    from playwright.sync_api import expect

    ada = enter(open_page, demo.url, "general", "Ada")
    grace = enter(open_page, demo.url, "general", "Grace")
    say(grace, "heard")
    expect(ada.locator(".message .text").last).to_have_text("heard")
    ada.click("[data-cut]")
    say(grace, "said before the log was lost")
    lose_the_log(demo, "general")
    ada.click("[data-restore]")
    expect(ada.locator("[data-notice]")).to_contain_text("loaded anew")
    expect(ada.locator(".message .text").last).to_have_text("said before the log was lost")
    say(grace, "and on it goes")
    texts = ada.locator(".message .text")
    expect(texts.last).to_have_text("and on it goes")
    assert len(set(texts.all_text_contents()[-3:])) == 3


def test_a_room_that_cannot_be_loaded_anew_says_so_and_is_when_it_is_restored(
    open_page: Opener, demo: Server
) -> None:
    from playwright.sync_api import expect

    ada = enter(open_page, demo.url, "lobby", "Ada", expected="status of 500")
    grace = enter(open_page, demo.url, "lobby", "Grace")
    ada.click("[data-cut]")
    say(grace, "said before the log was lost")
    lose_the_log(demo, "lobby")
    ada.route("**/chat/lobby/", lambda route: route.fulfill(status=500, body="<h1>Oops</h1>"))
    ada.click("[data-restore]")
    expect(ada.locator("[data-notice]")).to_contain_text("could not be loaded anew")
    state(ada, "closed")
    ada.unroute("**/chat/lobby/")
    ada.click("[data-restore]")
    expect(ada.locator("[data-notice]")).to_contain_text("was loaded anew")
    expect(ada.locator(".message .text").last).to_have_text("said before the log was lost")
    state(ada, "open")


def test_what_is_published_in_a_terminal_shows_up(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    ada = enter(open_page, demo.url, "random", "Ada")
    for text in ("Hello from outside", "Hello again"):
        manage(demo, "sse_publish", "chat-random", text, "--event", "usermessage")
        message = ada.locator(".message").last
        expect(message.locator(".text")).to_have_text(text)
        expect(message.locator("b")).to_have_text("terminal")


def test_raw_frames_are_shown_on_demand(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    ada = enter(open_page, demo.url, "random", "Ada")
    log = ada.locator("[data-frames-log]")
    expect(log).to_be_hidden()
    ada.click("[data-frames] summary")
    expect(log).to_contain_text("event: stream-open\ndata: {}")
    say(ada, "seen raw")
    expect(log).to_have_text(
        re.compile(
            r'id: [a-z0-9]+-\d+-[a-v0-9]{6}\s+event: usermessage\s+data: \{"id":.*"seen raw"\}'
        )
    )


def test_a_second_seat_of_the_same_browser_is_somebody_else(
    open_page: Opener, demo: Server
) -> None:
    ada = enter(open_page, demo.url, "random", "Ada")
    with ada.context.expect_page() as opening:
        ada.click("text=second window as somebody else")
    other = opening.value
    state(other, "open")
    name = other.input_value("#username")
    assert name not in {"", "Ada"}
    expect_here(ada, "Ada", name)
    expect_here(other, "Ada", name)


@pytest.mark.parametrize("text", ["   ", "x" * 1001])
def test_a_message_that_the_server_refuses_stays_in_the_field_with_the_reason(
    open_page: Opener, demo: Server, text: str
) -> None:
    from playwright.sync_api import expect

    expected = "the server responded with a status of 400"
    ada = enter(open_page, demo.url, "random", "Ada", expected=expected)
    ada.evaluate("document.querySelector('#text').removeAttribute('maxlength')")
    ada.fill("#text", text)
    ada.press("#text", "Enter")
    expect(ada.locator("[data-problem]")).to_be_visible()
    assert ada.input_value("#text") == text
