"""Each page of the demo does its work in every engine; the other files look closer, in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo_project.upstream.composer import compose
from tests.integration.browser.client import Opener, click, fill, poll
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.needs("daphne"), pytest.mark.every_engine]

PAGES = ("/", "/chat/lobby/", "/assistant/", "/progress/", "/clock/", "/interval/")
PROMPT = "Tell me everything about event streams."
WHOLE = compose(PROMPT)
STATE = "document.querySelector('[data-connection]')?.dataset.connection"
ANSWER = "document.querySelector('[data-exchange] [data-answer]')?.textContent"
EXCHANGE = "document.querySelector('[data-exchange]')?.dataset.state"


def texts(selector: str) -> str:
    return f"JSON.stringify([...document.querySelectorAll('{selector}')].map((e) => e.textContent))"


def enter(open_page: Opener, demo: Server, name: str) -> Page:
    page = open_page(f"{demo.url}/chat/general/")
    poll(page, f"{STATE} === 'open'")
    fill(page, "#username", name)
    click(page, "[data-rename-form] button")
    poll(page, f"document.querySelector('[data-people] [data-username={name}]')")
    return page


def say(page: Page, text: str) -> None:
    fill(page, "#text", text)
    page.evaluate("document.querySelector('#text').form.requestSubmit()")


@pytest.mark.promise("the demo's pages work")
def test_two_windows_hear_each_other(open_page: Opener, demo: Server, engine: str) -> None:
    ada = enter(open_page, demo, "Ada")
    grace = enter(open_page, demo, "Grace")
    said = [f"Hello from {engine}", f"<b>& good-bye from {engine}</b>"]
    for page, text in zip((ada, grace), said, strict=True):
        say(page, text)
        poll(ada, f"{texts('[data-log] .message .text')}.includes({text!r})")
    for page in (ada, grace):
        poll(page, f"{texts('[data-log] .message .text')}.includes({said[1]!r})")
        shown = page.evaluate(f"JSON.parse({texts('[data-log] .message .text')})")
        assert shown[-2:] == said


@pytest.mark.promise("the demo's pages work")
def test_an_answer_survives_a_reload_and_another_one_is_stopped(
    open_page: Opener, demo: Server
) -> None:
    page = open_page(f"{demo.url}/assistant/")
    poll(page, f"{STATE} === 'open'")
    fill(page, "#prompt", PROMPT)
    click(page, "[data-send]")
    poll(page, f"{ANSWER}.length > 100")
    page.reload()
    poll(page, f"{EXCHANGE} === 'whole'")
    assert page.evaluate(ANSWER) == WHOLE
    click(page, "[data-send]")
    last = "[...document.querySelectorAll('[data-exchange]')].at(-1)"
    poll(page, f"{last}.querySelector('[data-answer]').textContent.length > 20")
    page.evaluate(f"{last}.querySelector('[data-stop]').click()")
    poll(page, f"{last}.dataset.state === 'incomplete'")


@pytest.mark.promise("the demo's pages work")
def test_the_progress_survives_a_reload(open_page: Opener, demo: Server) -> None:
    page = open_page(f"{demo.url}/progress/")
    click(page, "[data-start]")
    poll(page, "document.querySelector('[data-bar]')?.value > 10")
    page.reload()
    poll(page, "document.querySelector('[data-stage]')?.textContent === 'Done'")
    poll(page, f"{STATE} === 'closed'")


@pytest.mark.promise("the demo's pages work")
def test_the_clock_ticks_and_the_interval_stops_for_good(open_page: Opener, demo: Server) -> None:
    page = open_page(f"{demo.url}/clock/")
    poll(page, "/^..:..:..$/.test(document.querySelector('[data-now]').textContent)")
    now = page.evaluate("document.querySelector('[data-now]').textContent")
    poll(page, f"document.querySelector('[data-now]').textContent !== '{now}'")
    click(page, "[data-stop]")
    poll(page, f"{STATE} === 'closed'")
    page.goto(f"{demo.url}/interval/")
    poll(page, "document.querySelectorAll('[data-lamps] .lit').length === 5")
    poll(page, f"{STATE} === 'closed'")


@pytest.mark.promise("the demo's pages work")
def test_every_page_fits_the_window(open_page: Opener, demo: Server) -> None:
    page = open_page(demo.url)
    for path in PAGES:
        page.goto(f"{demo.url}{path}", wait_until="domcontentloaded")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
