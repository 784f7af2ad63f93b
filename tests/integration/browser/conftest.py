"""Real browsers in front of a real demo: daphne's runserver, a database of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.browser import engines
from tests.servers import DEMO_SITE, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

TIMEOUT = 60_000  # milliseconds; far above what a page needs on a busy machine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        engines.parametrize(metafunc)


@pytest.fixture(scope="package")
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the browser's engine."""
    name: str = request.param
    return name


# Shared by this directory only: while Playwright runs, its loop counts as running in this thread,
# and an async test could not start its own.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


# The files of this directory take their engines in turn: what has started runs until the last file.
@pytest.fixture(scope="package")
def browsers(playwright: Playwright) -> Iterator[Callable[[str], Browser]]:
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(engines.launched(playwright, name)))


@pytest.fixture(scope="package")
def browser(browsers: Callable[[str], Browser], engine: str) -> Browser:
    return browsers(engine)


@pytest.fixture(scope="package")
def demo() -> Iterator[Server]:
    """The demo, at a fifth of its pace."""
    environment = {"DEMO_PACE": "0.2", "OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""}
    with Server("runserver-daphne", site=DEMO_SITE, env=environment) as server:
        yield server


@pytest.fixture(scope="package")
def notes_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda engine: tmp_path_factory.mktemp(f"notes-{engine}") / "notes")


@pytest.fixture(scope="package")
def notes(notes_of: Callable[[str], Path], engine: str) -> Path:
    """What the subscriptions of `server` note: that they opened, that they closed."""
    return notes_of(engine)


@pytest.fixture(scope="package")
def servers(notes_of: Callable[[str], Path]) -> Iterator[Callable[[str], Server]]:
    with ExitStack() as stack:

        def start(engine: str) -> Server:
            environment = {"DJANGO_SSE_TEST_NOTES": str(notes_of(engine))}
            return stack.enter_context(Server("uvicorn", env=environment))

        yield cache(start)


@pytest.fixture(scope="package")
def server(servers: Callable[[str], Server], engine: str) -> Server:
    """The site of tests/project, one for each engine. Each test has channels of its own."""
    return servers(engine)


@dataclass
class Complaints:
    """What the console of a page says; policy violations are console errors, too."""

    expected: str = "(?!)"
    seen: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.seen.append(message.text)

    @property
    def unexpected(self) -> list[str]:
        return [text for text in self.seen if not re.search(self.expected, text)]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a window (a session) of its own: ``open_page(url, expected="ERR_...")``.

    ``expected`` is a pattern of the console errors that belong to the test; any other fails it.
    Further options are those of a Playwright context; ``beside=page`` shares that page's session.
    """
    opened: list[tuple[Page, Complaints]] = []

    def start(url: str, *, expected: str = "(?!)", beside: Any = None, **options: Any) -> Page:
        context = beside.context if beside else browser.new_context(**options)
        context.set_default_timeout(TIMEOUT)
        page: Page = context.new_page()
        complaints = Complaints(expected)
        complaints.listen(page)
        opened.append((page, complaints))
        page.goto(url)
        return page

    yield start
    for page, _ in opened:
        page.context.close()
    for _, complaints in opened:
        assert complaints.unexpected == []


@pytest.fixture(autouse=True)
def patient_expectations() -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=TIMEOUT)
