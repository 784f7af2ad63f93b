"""Answers that survive: every button of the assistant's page, and what the client did then."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from demo_project.upstream.composer import compose
from tests import FULL
from tests.integration.browser.test_chat import NETWORK, state
from tests.requirements import in_full
from tests.servers import DEMO_SITE, Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.needs("browser", "daphne")

Opener = Callable[..., "Page"]
ENVIRONMENT = {"DEMO_PACE": "0.6", "OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""}
PROMPT = "Tell me everything about event streams."
WHOLE = compose(PROMPT)
BEGINNING = WHOLE[:120]
REFUSED = "the server responded with a status of 429"


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    """The demo at a pace that leaves some seconds for the middle of an answer."""
    with Server("runserver-daphne", site=DEMO_SITE, env=ENVIRONMENT) as server:
        yield server


@pytest.fixture(scope="module")
def unhurried() -> Iterator[Server]:
    """The demo at a pace at which no answer ends while windows are opened on a busy machine."""
    slow = {"DEMO_PACE": "3"}
    with Server("runserver-daphne", site=DEMO_SITE, env=ENVIRONMENT | slow) as server:
        yield server


def enter(open_page: Opener, server: Server, **options: object) -> Page:
    page = open_page(f"{server.url}/assistant/", **options)
    state(page, "open")
    return page


def ask(page: Page, prompt: str = PROMPT) -> Locator:
    """The exchange that shows it."""
    page.fill("#prompt", prompt)
    page.click("[data-send]")
    return page.locator("[data-exchange]").last


def begins(exchange: Locator) -> None:
    """Wait until its answer is in the middle."""
    from playwright.sync_api import expect

    expect(exchange.locator("[data-answer]")).to_contain_text(BEGINNING)
    expect(exchange.locator("[data-answer]")).to_have_attribute("aria-busy", "true")


def is_whole(exchange: Locator, text: str = WHOLE) -> None:
    """Wait until all of its answer is there: nothing missing, nothing twice."""
    from playwright.sync_api import expect

    expect(exchange).to_have_attribute("data-state", "whole")
    expect(exchange.locator("[data-answer]")).to_have_text(text)
    expect(exchange.locator("[data-answer]")).to_have_attribute("aria-busy", "false")
    expect(exchange.locator("[data-problem]")).to_be_hidden()


def is_incomplete(exchange: Locator, reason: str, begins_with: str = "") -> None:
    """Wait until its answer has ended too early, and says so."""
    from playwright.sync_api import expect

    expect(exchange).to_have_attribute("data-state", "incomplete")
    expect(exchange.locator("[data-problem]")).to_contain_text(reason)
    expect(exchange.locator("[data-again]")).to_be_visible()
    expect(exchange.locator("[data-live]")).to_be_hidden()
    said = exchange.locator("[data-answer]").text_content() or ""
    assert WHOLE.startswith(said)
    assert said.startswith(begins_with)
    assert said != WHOLE


def did(page: Page, *deeds: str) -> None:
    """Wait until the client has done this, in this order, whatever else it did.

    The patterns are matched in the browser: JavaScript has no named groups of Python's form.
    """
    from playwright.sync_api import expect

    pattern = ".*".join(f"(?:{deed})" for deed in deeds)
    expect(page.locator("[data-deeds]")).to_have_text(re.compile(pattern, re.DOTALL))


@in_full
def test_an_answer_comes_token_by_token_and_is_counted(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    page = enter(open_page, demo)
    exchange = ask(page)
    begins(exchange)
    is_whole(exchange)
    tokens = re.search(r"(\d+) of (\d+) events", exchange.locator("[data-verdict]").inner_text())
    assert tokens is not None
    assert tokens[1] == tokens[2]
    did(page, r"Asked\. POST /assistant/answers/", r"Connected to process \d+", "complete")
    page.click("[data-frames] summary")
    expect(page.locator("[data-frames-log]")).to_contain_text("event: close\ndata: [DONE]")
    assert int(page.inner_text("[data-frames-count]")) > int(tokens[1])


def test_a_reload_in_the_middle_shows_the_whole_answer_and_goes_on(
    open_page: Opener, demo: Server
) -> None:
    page = enter(open_page, demo)
    begins(ask(page))
    page.reload()
    exchange = page.locator("[data-exchange]").last
    begins(exchange)
    did(page, "Joined the run from its first event")
    is_whole(exchange)
    page.reload()
    is_whole(page.locator("[data-exchange]").last)
    assert page.locator("[data-exchange]").count() == 1


def test_other_windows_join_and_other_visitors_do_not(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    first = enter(open_page, demo)
    second = enter(open_page, demo, beside=first)
    stranger = enter(open_page, demo)
    begins(ask(first))
    did(second, "Heard of a question", "Joined the run from its first event")
    late = enter(open_page, demo, beside=first)
    for page in (first, second, late):
        is_whole(page.locator("[data-exchange]"))
    expect(stranger.locator("[data-exchange]")).to_have_count(0)
    second.click("[data-new]")
    for page in (first, second, late):
        expect(page.locator("[data-exchange]")).to_have_count(0)
        expect(page.locator("[data-empty]")).to_be_visible()


@in_full
def test_many_windows_leave_connections_for_a_stop_and_for_other_pages(
    open_page: Opener, unhurried: Server
) -> None:
    first = enter(open_page, unhurried)
    second, third = (enter(open_page, unhurried, beside=first) for _ in range(2))
    for page in (first, second):
        begins(ask(page))
    late = enter(open_page, unhurried, beside=first)
    for page in (third, late):
        begins(page.locator("[data-exchange]").last)
    late.locator("[data-stop]").last.click()
    for page in (first, second, third, late):
        is_incomplete(page.locator("[data-exchange]").last, "Stopped", BEGINNING)
    assert late.evaluate("fetch('/clock/').then(({ status }) => status)") == 200
    late.locator("[data-stop]").first.click()
    for page in (first, second, third, late):
        is_incomplete(page.locator("[data-exchange]").first, "Stopped", BEGINNING)


@in_full
def test_a_window_that_follows_another_has_no_connection_to_kill(
    open_page: Opener, unhurried: Server
) -> None:
    asking = enter(open_page, unhurried)
    begins(ask(asking))
    leading, following = (enter(open_page, unhurried, beside=asking) for _ in range(2))
    begins(leading.locator("[data-exchange]"))
    begins(following.locator("[data-exchange]"))
    following.click("[data-cut]")
    did(following, "Joined the run", "Nothing to kill: another window holds the connection")
    leading.click("[data-cut]")
    for page in (leading, following):
        did(page, r"Connection lost \(truncated\), after event (\d+)", "Back, at")
    following.click("[data-stop]")
    for page in (asking, leading, following):
        is_incomplete(page.locator("[data-exchange]"), "Stopped", BEGINNING)


def test_a_stop_ends_the_answer_in_all_windows_and_it_can_be_asked_again(
    open_page: Opener, demo: Server
) -> None:
    page = enter(open_page, demo)
    other = enter(open_page, demo, beside=page)
    exchange = ask(page)
    begins(exchange)
    exchange.locator("[data-stop]").click()
    for each in (page, other):
        is_incomplete(each.locator("[data-exchange]"), "Stopped", BEGINNING)
    did(page, "Stop: the server has ended the run")
    page.reload()
    exchange = page.locator("[data-exchange]")
    is_incomplete(exchange, "stopped before its end", BEGINNING)
    exchange.locator("[data-again]").click()
    is_whole(page.locator("[data-exchange]").last)
    assert page.locator("[data-exchange]").count() == 2


def test_a_killed_connection_costs_nothing_and_the_client_says_what_it_did(
    open_page: Opener, demo: Server
) -> None:
    page = enter(open_page, demo)
    exchange = ask(page)
    begins(exchange)
    exchange.locator("[data-cut]").click()
    did(
        page,
        r"Killed the connection of this page, after event \d+",
        r"Connection lost \(truncated\), after event (\d+); waits [\d,]+ ms",
        r"Back, at process \d+: goes on after event \1\b",
    )
    is_whole(exchange)
    verdict = exchange.locator("[data-verdict]").inner_text()
    assert re.search(r"\b(\d+) of \1 events", verdict), verdict


def test_a_single_process_is_not_killed_and_the_page_says_why(
    open_page: Opener, demo: Server
) -> None:
    from playwright.sync_api import expect

    page = enter(open_page, demo)
    exchange = ask(page)
    begins(exchange)
    expect(exchange.locator("[data-kill]")).to_be_disabled()
    expect(page.locator("[data-why-no-kill]")).to_contain_text("make demo-workers")
    exchange.locator("[data-stop]").click()
    is_incomplete(exchange, "Stopped")


@pytest.mark.needs("uvicorn", "uvloop")
@in_full
def test_a_killed_worker_ends_as_interrupted_by_the_other_and_can_be_asked_again(
    serve: Callable[..., Server], open_page: Opener
) -> None:
    workers = serve(
        "uvicorn",
        site=DEMO_SITE,
        env=ENVIRONMENT | {"DEMO_WORKERS": "2"},
        args=["--workers", "2"],
    )
    page = enter(open_page, workers, expected=NETWORK)
    exchange = ask(page)
    begins(exchange)
    exchange.locator("[data-kill]").click()
    is_incomplete(exchange, "Interrupted", BEGINNING)
    did(
        page,
        r"Connected to process (\d+)",
        r"Killed process \1 with SIGKILL",
        r"Connection lost",
        r"Back, at process (?!\1\b)\d+: goes on after event \d+",
        r"Interrupted:",
    )
    exchange.locator("[data-again]").click()
    is_whole(page.locator("[data-exchange]").last)


@in_full
def test_the_history_and_the_page_survive_a_crash_of_the_server(
    serve: Callable[..., Server], open_page: Opener
) -> None:
    server = serve("runserver-daphne", site=DEMO_SITE, env=ENVIRONMENT)
    page = enter(open_page, server, expected=NETWORK)
    short = "What of tokens?"
    is_whole(ask(page, short), compose(short))
    begins(ask(page))
    server.kill()
    did(page, "Connection lost")
    server.start()
    # Without a reload: the client comes back by itself, and is told.
    is_incomplete(page.locator("[data-exchange]").last, "Interrupted", BEGINNING)
    state(page, "open")
    page.reload()
    is_whole(page.locator("[data-exchange]").first, compose(short))
    is_incomplete(page.locator("[data-exchange]").last, "Interrupted", BEGINNING)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("busy", "Ask again in 3 s."),
        ("hang-up", "ended before it was complete"),
        pytest.param("status", "status 500", marks=in_full),
        pytest.param("error", "failed while it was answering (server_error)", marks=in_full),
        pytest.param("garbage", "not JSON", marks=in_full),
        pytest.param("endless-line", "not JSON", marks=in_full),
    ],
)
def test_what_fails_upstream_is_shown_and_the_next_question_is_answered(
    open_page: Opener, demo: Server, behaviour: str, reason: str
) -> None:
    page = enter(open_page, demo)
    page.select_option("#behaviour", behaviour)
    is_incomplete(ask(page), reason)
    did(page, "Failed:")
    page.reload()
    is_incomplete(page.locator("[data-exchange]"), reason)
    short = "What of tokens?"
    is_whole(ask(page, short), compose(short))


def test_who_asks_too_much_at_once_is_told_and_keeps_the_question(
    open_page: Opener, demo: Server
) -> None:
    from playwright.sync_api import expect

    page = enter(open_page, demo, expected=REFUSED)
    for _ in range(2):
        exchange = ask(page)
        expect(exchange.locator("[data-answer]")).not_to_be_empty()
    ask(page, "One too many?")
    expect(page.locator("[data-refusal]")).to_contain_text("You already have too many answers")
    expect(page.locator("#prompt")).to_have_value("One too many?")
    expect(page.locator("[data-exchange]")).to_have_count(2)
    page.click("[data-new]")
    expect(page.locator("[data-exchange]")).to_have_count(0)


@in_full
def test_any_server_that_speaks_as_openai_does_can_be_the_upstream(
    serve: Callable[..., Server], open_page: Opener, demo: Server
) -> None:
    from playwright.sync_api import expect

    service = {"OPENAI_BASE_URL": f"{demo.url}/upstream/v1", "OPENAI_MODEL": "answer"}
    page = enter(open_page, serve("runserver-daphne", site=DEMO_SITE, env=ENVIRONMENT | service))
    expect(page.locator("[data-stand-in]")).to_have_count(0)
    is_whole(ask(page))


@pytest.mark.parametrize("width", [320, 390, 1280] if FULL else [320])
def test_a_conversation_fits_the_screen(open_page: Opener, demo: Server, width: int) -> None:
    page = enter(open_page, demo, viewport={"width": width, "height": 800})
    begins(ask(page, f"everything{'!' * 100}"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-stop]").click()
    is_incomplete(page.locator("[data-exchange]"), "Stopped")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
