"""The three browser engines of today: which tests run in which, and how each is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests import FULL
from tests.integration.browser.drivers import Firefox, WebKit
from tests.integration.browser.webdriver import Browser as WebDriverBrowser
from tests.requirements import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

ENGINES = ("chromium", "firefox", "webkit")
REQUIREMENTS = {"chromium": "browser", "firefox": "firefox", "webkit": "webkit"}
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Runs a test in Chromium, or with `every_engine` in all but those that `not_in` names.

    What is no promise to a page is tried in the other two only by `.ci/full`.
    """
    item = metafunc.definition
    wanted = FULL or item.get_closest_marker("promise")
    engines = ENGINES if wanted and item.get_closest_marker("every_engine") else ENGINES[:1]
    left_out = {name for marker in item.iter_markers("not_in") for name in marker.kwargs}
    cases = [
        pytest.param(engine, marks=pytest.mark.needs(REQUIREMENTS[engine]))
        for engine in engines
        if engine not in left_out
    ]
    metafunc.parametrize("engine", cases, indirect=True, scope="package")


@contextmanager
def launched(playwright: Playwright, engine: str, **options: Any) -> Iterator[Any]:
    """The browser: Playwright's, or what has so much of its API as the tests use."""
    running: Any
    if engine == "webkit":
        running = WebDriverBrowser(WebKit)
    elif engine == "firefox":
        running = WebDriverBrowser(Firefox)
    else:
        options |= {"executable_path": chromium(), "args": CHROMIUM_ARGUMENTS}
        running = playwright.chromium.launch(**options)
    yield running
    running.close()
