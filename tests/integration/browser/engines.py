"""The three browser engines of today: which tests run in which, and how each is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
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


def promises() -> dict[str, list[str]]:
    """Of each promise of the client, and each engine: "yes", or why no test tries it there."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = import_module(f"{__package__}.{path.stem}")
        for test in vars(module).values():
            marks = [*getattr(test, "pytestmark", []), *_list(getattr(module, "pytestmark", []))]
            cells = dict.fromkeys(ENGINES, "not tried") | {ENGINES[0]: "yes"}
            if any(mark.name == "every_engine" for mark in marks):
                cells = dict.fromkeys(ENGINES, "yes")
            for mark in marks:
                cells |= mark.kwargs if mark.name == "not_in" else {}
            found |= {
                mark.args[0]: list(cells.values()) for mark in marks if mark.name == "promise"
            }
    return found


def _list(marks: Any) -> list[Any]:
    return marks if isinstance(marks, list) else [marks]


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
