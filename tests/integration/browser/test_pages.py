"""The other pages, the way a reader uses them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.integration.browser.test_chat import state
from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.needs("browser", "daphne")

Opener = Callable[..., "Page"]
PAGES = ("/", "/chat/lobby/", "/assistant/", "/progress/", "/clock/", "/interval/")
SCREENS = {"desk": (1280, 800), "phone": (390, 844), "small phone": (320, 568)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_fits_every_screen(
    open_page: Opener, demo: Server, screen: str, scheme: str
) -> None:
    width, height = SCREENS[screen]
    size = {"width": width, "height": height}
    page = open_page(demo.url, viewport=size, color_scheme=scheme)
    for path in PAGES:
        page.goto(f"{demo.url}{path}", wait_until="domcontentloaded")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(14, 18, 23)"
        )
        assert dark == (scheme == "dark"), path


def test_every_field_and_button_of_every_page_has_a_name(open_page: Opener, demo: Server) -> None:
    page = open_page(demo.url)
    for path in PAGES:
        page.goto(f"{demo.url}{path}", wait_until="domcontentloaded")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, textarea, select, button, a")]
                .filter((each) => !each.labels?.length && !each.textContent.trim()
                    && !each.getAttribute("aria-label"))
                .map((each) => each.outerHTML)"""
        )
        assert nameless == [], path
        assert page.locator("h1").count() == 1, path


def test_the_clock_ticks_stops_and_starts(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    page = open_page(f"{demo.url}/clock/")
    now = page.locator("[data-now]")
    expect(now).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(now).not_to_have_text(now.inner_text())
    page.click("[data-stop]")
    state(page, "closed")
    frames = page.inner_text("[data-frames-count]")
    stopped_at = now.inner_text()
    # The page's own clock, not a pause of ours: two of its seconds without a tick.
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 2100))")
    assert (page.inner_text("[data-frames-count]"), now.inner_text()) == (frames, stopped_at)
    page.click("[data-start]")
    state(page, "open")
    expect(now).not_to_have_text(stopped_at)


def test_the_interval_stops_for_good_after_five_events(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    page = open_page(demo.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{demo.url}/interval/")
    expect(page.locator("[data-lamps] .lit")).to_have_count(5)
    expect(page.locator("[data-verdict]")).to_contain_text("204")
    state(page, "closed")
    assert asked.count(f"{demo.url}/interval/events/") == 2
    assert page.inner_text("[data-frames-count]") == "5"
    page.click("[data-again]")
    expect(page.locator("[data-lamps] .lit")).to_have_count(5)


def reached(page: Page, percent: int) -> int:
    """Wait until the bar is at ``percent`` at least; where it is then."""
    # Playwright's own wait_for_function needs eval, which the demo's policy forbids.
    value: int = page.evaluate(
        """(percent) => new Promise((resolve) => {
            const bar = document.querySelector("[data-bar]");
            const look = () => {
                if (bar.value >= percent) resolve(bar.value);
                else requestAnimationFrame(look);
            };
            look();
        })""",
        percent,
    )
    return value


def test_the_progress_survives_a_reload_and_a_second_tab(open_page: Opener, demo: Server) -> None:
    from playwright.sync_api import expect

    page = open_page(f"{demo.url}/progress/")
    page.click("[data-start]")
    page.wait_for_url(re.compile(r"/progress/[0-9a-f-]{36}/$"))
    before = reached(page, 10)
    page.reload()
    reached(page, before)
    second = open_page(page.url, beside=page)
    for tab in (page, second):
        expect(tab.locator("[data-stage]")).to_have_text("Done")
        state(tab, "closed")
        assert reached(tab, 100) == 100
    page.reload()
    expect(page.locator("[data-stage]")).to_have_text("Done")


def test_a_missing_page_is_told_in_the_design_of_the_others(
    open_page: Opener, demo: Server
) -> None:
    page = open_page(f"{demo.url}/chat/nowhere/", expected="status of 404")
    assert "There is no room called" in page.inner_text("main")
