"""A browser over WebDriver (W3C), with as much of Playwright's API as the client's tests use.

Playwright drives a WebKit of its own build only, and its Firefox of today needs commands that
Debian's does not know. A context is a browser of its own here, and each page a tab of it: a
WebDriver has one session, and a session one set of cookies. A context that is closed is emptied and
used again, because a browser takes seconds to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

TIMEOUT = 60.0  # seconds
MOMENT = 0.03
# A script gets its argument and a callback. What it throws comes back as text.
SCRIPT = """const [argument, done] = arguments;
(async () => {
    const value = (%s
    );
    return typeof value === "function" ? value(argument) : value;
})().then((value) => done({ value }), (error) => done({ error: `${error}\\n${error?.stack}` }));"""
EMPTY = "localStorage.clear()"


class WebDriverError(AssertionError):
    """A command failed, or a script threw."""


class Driver(Protocol):
    """A browser that runs, and the connection to it."""

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """Sends a command of the WebDriver standard. Raises `WebDriverError`."""

    def close(self) -> None:
        """Ends the browser."""


class Browser:
    """The contexts of one engine: those in use, and those that wait to be used again."""

    def __init__(self, start: Callable[[], Driver]) -> None:
        self._start = start
        self._free: list[Context] = []
        self._all: list[Context] = []

    def new_context(self) -> Context:
        if not self._free:
            self._all.append(Context(self._start(), self._free.append))
            return self._all[-1]
        return self._free.pop()

    def close(self) -> None:
        for context in self._all:
            context.driver.close()


class Context:
    """A browser with its own cookies and storage."""

    def __init__(self, driver: Driver, free: Callable[[Context], None]) -> None:
        self.driver = driver
        self._free = free
        milliseconds = int(TIMEOUT * 1000)
        driver.command("SetTimeouts", {"script": milliseconds, "pageLoad": milliseconds})
        self._pages: list[Page] = []
        self._spare: str = driver.command("GetWindowHandle", {})
        self._current = self._spare

    def command(self, name: str, parameters: dict[str, Any], *, window: str = "") -> Any:
        """Sends a command, to a window of this context if it is about one."""
        if window and window != self._current:
            self.driver.command("SwitchToWindow", {"handle": window})
            self._current = window
        return self.driver.command(name, parameters)

    def new_page(self) -> Page:
        window, self._spare = self._spare or self._new_window(), ""
        self._pages.append(Page(self, window))
        return self._pages[-1]

    def _new_window(self) -> str:
        # WebKit's command fails if the current window is closed.
        living = next(page.window for page in self._pages if not page.is_closed())
        handle: str = self.command("NewWindow", {"type": "tab"}, window=living)["handle"]
        return handle

    def set_default_timeout(self, timeout: float) -> None:
        """TIMEOUT is that of all commands."""

    def add_cookies(self, cookies: list[dict[str, str]]) -> None:
        for cookie in cookies:
            plain = {name: value for name, value in cookie.items() if name != "url"}
            self.command("AddCookie", {"cookie": {"path": "/", **plain}})

    def clear_cookies(self) -> None:
        self.command("DeleteAllCookies", {})

    def close(self) -> None:
        """Tells what its pages did not catch, and makes it as new."""
        living = [page for page in self._pages if not page.is_closed()]
        if not living:
            return
        for page in living:
            page.tell_errors()
        living[-1].evaluate(EMPTY)
        self.clear_cookies()
        self._spare = self._new_window()
        for page in living:
            page.close()
        self._pages.clear()
        self._free(self)


class Page:
    """A tab. In WebKit one that is opened beside another stays hidden, and has no frames."""

    def __init__(self, context: Context, window: str) -> None:
        self.context = context
        self.window = window
        self._closed = False
        self._on_error: list[Callable[[str], None]] = []

    def on(self, event: str, listener: Callable[[str], None]) -> None:
        """Only "pageerror", and that when the context is closed: WebDriver reports no events."""
        if event == "pageerror":
            self._on_error.append(listener)

    def tell_errors(self) -> None:
        for error in self.evaluate("window.uncaught ?? []"):
            for listener in self._on_error:
                listener(error)

    def goto(self, url: str, **_: Any) -> None:
        self._command("Navigate", {"url": url})

    def reload(self) -> None:
        self._command("Refresh", {})

    def go_back(self, **_: Any) -> None:
        self.evaluate("void setTimeout(() => history.back())")

    def close(self) -> None:
        self._command("CloseWindow", {})
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed

    def evaluate(self, script: str, argument: object = None) -> Any:
        """The value of an expression, or what the function returns that it is."""
        parameters = {"script": SCRIPT % script, "args": [argument]}
        outcome = self._command("ExecuteAsyncScript", parameters)
        if "error" in outcome:
            raise WebDriverError(outcome["error"])
        return outcome.get("value")

    def wait_for_function(self, condition: str, **_: Any) -> None:
        deadline = time.monotonic() + TIMEOUT
        while True:
            # While the page changes there is nothing to ask, or the old page.
            with suppress(WebDriverError):
                if self.evaluate(f"Boolean({condition})"):
                    return
            if time.monotonic() > deadline:
                raise WebDriverError(f"not true within {TIMEOUT} s: {condition}")
            time.sleep(MOMENT)

    def wait_for_timeout(self, milliseconds: float) -> None:
        time.sleep(milliseconds / 1000)

    def _command(self, name: str, parameters: dict[str, Any]) -> Any:
        return self.context.command(name, parameters, window=self.window)
