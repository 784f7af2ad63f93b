"""The page of tests/project/pages.py in the browser, and ways to wait for what its stream does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from tests.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opener = Callable[..., "Page"]
# What Chromium logs when the network goes, and for a status that a test provokes.
NETWORK = r"Failed to load resource"
CLOSED = "seen.stream.readyState === 2"


def open_client(open_page: Opener, base: str, **options: Any) -> Page:
    """The page, once its scripts have run."""
    page = open_page(f"{base}/client/", **options)
    wait(page, "window.ready")
    return page


def wait(page: Page, condition: str) -> None:
    """Until the JavaScript expression is true."""
    # Not by animation frames, as is the default: a hidden page has none.
    page.wait_for_function(condition, polling=20)


def poll(page: Page, condition: str) -> None:
    """The same where the page's policy forbids eval, which Playwright uses to wait."""
    for _ in range(1200):
        # A reload may take the page away.
        with suppress(Exception):
            if page.evaluate(f"Boolean({condition})"):
                return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}")


def seen(page: Page, name: str) -> Any:
    return page.evaluate(f"seen.{name}")


def asked(page: Page, *parts: str) -> list[tuple[str, str]]:
    """Method and path of each fetch of this tab, also before a reload; of paths with a part."""
    requests = page.evaluate("asked.map(([method, url]) => [method, new URL(url).pathname])")
    return [(method, path) for method, path in requests if any(part in path for part in parts)]


def publish(server: Server, channel: str, *texts: str) -> None:
    for text in texts:
        request = Request(f"{server.url}/publish/{channel}/", text.encode(), method="POST")
        with urlopen(request, timeout=30) as response:
            assert response.status == 200


def fill(page: Page, selector: str, text: str) -> None:
    """As by hand, in any engine."""
    page.evaluate(
        """([selector, text]) => {
            const field = document.querySelector(selector);
            field.value = text;
            field.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [selector, text],
    )


def click(page: Page, selector: str) -> None:
    page.evaluate("(selector) => document.querySelector(selector).click()", selector)
